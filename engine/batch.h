// Turns sequences and what each is to compute into one Batch.
#pragma once

#include <span>

#include "engine/sequence.h"
#include "models/model.h"

namespace sluice {

enum class WantLogits : unsigned char { kNone, kLast, kAll };

// The next `count` tokens of a sequence that are not computed yet.
struct Work {
  const Sequence* sequence = nullptr;
  int64_t count = 0;
  WantLogits logits = WantLogits::kLast;
};

// `batch` is overwritten; its vectors keep their capacity, so that steps of a size seen before allocate nothing.
void build_batch(std::span<const Work> work, bool verify, Batch& batch);

}  // namespace sluice
