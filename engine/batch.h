// Turns sequences and what each is to compute into one Batch.
#pragma once

#include <span>

#include "engine/sequence.h"
#include "models/model.h"

namespace sluice {

enum class WantLogits : unsigned char { kNone, kLast, kAll };

// The next `count` tokens of a sequence that are not computed yet, drafts among them.
struct Work {
  Sequence* sequence = nullptr;
  int64_t count = 0;
  WantLogits logits = WantLogits::kLast;
  bool verify = false;  // some may be taken back: Engine::accept() says how many count. Such work comes first in a step.
};

// kToCommonShapes: sequences of padding behind the others, so that few shapes (shape_of()) are seen.
enum class Padding : unsigned char { kNone, kToCommonShapes };

// `batch` is overwritten; its vectors keep their capacity, so that steps of a size seen before allocate nothing.
void build_batch(std::span<const Work> work, Padding padding, Batch& batch);
// The same for the draft head's rows [drafted, end) of sequences. logits: of each one's last row.
struct DraftRows {
  Sequence* sequence = nullptr;
  int64_t end = 0;
  bool logits = false;
};
void build_draft_batch(std::span<const DraftRows> rows, Padding padding, Batch& batch);

}  // namespace sluice
