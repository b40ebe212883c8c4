// When requests arrive.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace sluice::bench {

inline constexpr double kInf = std::numeric_limits<double>::infinity();

struct Arrivals {
  double rate = kInf;  // a second; infinite: all at once, held back by the limit of concurrency alone
  double burstiness =
      1;  // shape of the gaps' gamma distribution: 1 Poisson, below 1 in bursts, above 1 more even, infinite: fixed gaps
};

// Seconds from the start, in ascending order, the first at 0. The mean gap is 1 / rate whatever the burstiness.
std::vector<double> arrival_times(int64_t count, const Arrivals& arrivals, uint64_t seed);

}  // namespace sluice::bench
