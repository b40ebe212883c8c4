#include "bench_client/arrivals.h"

#include <cmath>

#include "bench_client/random.h"

namespace sluice::bench {

std::vector<double> arrival_times(int64_t count, const Arrivals& arrivals, uint64_t seed) {
  constexpr uint64_t kStream = 0xa1;
  Random random(seed, kStream);
  std::vector<double> times;
  double t = 0;
  for (int64_t i = 0; i < count; ++i) {
    times.push_back(t);
    if (std::isinf(arrivals.rate)) continue;
    const double gap = std::isinf(arrivals.burstiness) ? 1 : random.gamma(arrivals.burstiness) / arrivals.burstiness;
    t += gap / arrivals.rate;
  }
  return times;
}

}  // namespace sluice::bench
