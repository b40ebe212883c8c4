// The middle of some measurements.
#pragma once

#include <algorithm>
#include <vector>

namespace sluice {

// Of an even number the upper one of the middle two. There must be one.
inline double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

}  // namespace sluice
