// Scores of a row that may be among its k best, by ascending index. Never too many: when there is no more room the best k stay, and
// the k-th of them is the bar for what comes later.
#pragma once

#include <cstdint>

#include "core/simd.h"
#include "ops/index_topk/row.h"

namespace sluice {

class Candidates {
 public:
  // Numbers of memory for k: the candidates, and as many for choosing among them.
  SLUICE_INLINE static constexpr int64_t scratch(int64_t k) { return 2 * room(k); }

  SLUICE_INLINE Candidates(uint64_t* memory, int64_t k) : kept_(memory), spare_(memory + room(k)), room_(room(k)), k_(k) {}

  // Scores with a lower or the same key are no candidates any more.
  SLUICE_INLINE uint32_t bar() const { return bar_; }
  SLUICE_INLINE void add(uint32_t key, int64_t index) {
    if (count_ == room_) keep_best();
    if (key > bar_) kept_[count_++] = uint64_t(key) << 32 | uint32_t(~uint32_t(index));  // larger is better
  }
  void keep_best();
  SLUICE_INLINE int64_t index(int64_t i) const { return uint32_t(~uint32_t(kept_[i])); }

 private:
  SLUICE_INLINE static constexpr int64_t room(int64_t k) { return k + (k < 4096 ? 4096 : k); }

  uint64_t *kept_, *spare_;
  int64_t room_, k_, count_ = 0;
  uint32_t bar_ = kNoScore;
};

}  // namespace sluice
