// Several ranks, one engine: rank 0's plans, samples and serves, and what it asks of its model and its state pool it tells the
// others, whose engines have the other heads' pools at the same slots and pages. A rank that follows knows no sequences and no
// tokens' meaning.
#pragma once

#include <vector>

#include "core/group.h"
#include "engine/engine.h"

namespace sluice {

struct Order {
  // kClose ends an engine, kLeave the following.
  enum class Kind : unsigned char { kOpen, kStep, kDraft, kCloseChunks, kClose, kLeave };
  Kind kind = Kind::kLeave;
  EngineOptions options;                // kOpen
  std::vector<SlotCopy> copies;         // of state slots, ahead of the rest
  Batch batch;                          // kStep, kDraft
  std::vector<int32_t> slots, lengths;  // kCloseChunks
};

// From rank 0 to the others; from it at one of them.
Status tell(Ranks& ranks, const Order& order);
Result<Order> hear(Ranks& ranks);

// What a rank other than 0 does, until rank 0 says kLeave. An error means that the ranks are no longer together.
Status follow(Ranks& ranks);

}  // namespace sluice
