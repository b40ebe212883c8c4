#include "ops/index_topk/candidates.h"

#include <algorithm>
#include <functional>

namespace sluice {

// The k-th is found among copies, so that what stays keeps its order.
void Candidates::keep_best() {
  if (count_ <= k_) return;
  std::copy_n(kept_, count_, spare_);
  std::nth_element(spare_, spare_ + k_ - 1, spare_ + count_, std::greater<>());
  const uint64_t least = spare_[k_ - 1];
  count_ = std::copy_if(kept_, kept_ + count_, kept_, [&](uint64_t c) { return c >= least; }) - kept_;
  bar_ = uint32_t(least >> 32);
}

}  // namespace sluice
