// How fast this machine reads its memory: what bounds decode, which reads every weight for every token.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"

namespace sluice {

// Bytes per second of each pass.
struct Bandwidth {
  int threads = 0;
  std::vector<double> passes;
  // What the machine can do is the best; how far the median is below it tells how much others disturbed the measurement.
  double best() const;
  double median() const;
};

// Walks through `bytes` bytes again and again, with each of the given numbers of threads for about `seconds`. A pass is short, so
// that some are not disturbed where other programs run; there are at least three.
Result<std::vector<Bandwidth>> measure_bandwidth(size_t bytes, const std::vector<int>& threads, double seconds);

}  // namespace sluice
