// Slots for the recurrent state of gated delta layers.
//
// A slot is free, live (one running sequence writes it) or a snapshot (never written, counted by its users). It has two parts.
// Closed: state and convolution tail of every layer, and a draft head's hidden row, as of the sequence's last multiple of 64
// tokens. Open: the rows since, the convolution's ring, and the hidden row that a resumed sequence goes on from. A snapshot is the
// closed part alone, so it is exact, it can be taken wherever its sequence stands, and a live slot becomes one without a copy.
// On request snapshots are kept in int8 instead, in memory of their own, and are then not exact.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "base/status.h"
#include "core/context.h"
#include "engine/int8_snapshots.h"
#include "models/model.h"

namespace sluice {

// What a slot got from another: its closed part, and where a sequence goes on from a snapshot, what that has open.
struct SlotCopy {
  int32_t from, to;
  bool resumed;
};

class StatePool {
 public:
  // Rows of the convolution ring: a draft may be this minus (conv width - 1) tokens long and still be taken back.
  static constexpr int64_t kRingRows = 16;

  // In the memory of a context's device; by default the CPU's. running: so many slots are for sequences alone, and what the others
  // would take holds snapshots in int8, by operators that run in this context.
  static Result<StatePool> create(const PoolSpec& spec, int64_t slots, const Context& where = {},
                                  std::optional<int64_t> running = {});

  // kResourceExhausted when no slot is free; the caller queues, evicts or preempts.
  Result<int32_t> acquire();
  void release(int32_t slot);

  // A snapshot of live slot `slot`, with one user: its sequence as it was at the last multiple of 64 tokens. Snapshots have numbers
  // of their own.
  Result<int32_t> snapshot(int32_t slot);
  // The same, and the slot is released, where that succeeds. Without int8 it always does: the slot becomes the snapshot.
  Result<int32_t> freeze(int32_t slot);
  // A live slot that continues from a snapshot.
  Result<int32_t> resume(int32_t snapshot);
  void retain(int32_t snapshot);
  // Takes one user off a snapshot and frees it with the last.
  void release_snapshot(int32_t snapshot);

  // From now on copies are noted, until they are taken: for other ranks' pools, which repeat() them.
  void note_copies() { noting_ = true; }
  std::vector<SlotCopy> take_copies() { return std::exchange(noted_, {}); }
  void repeat(const std::vector<SlotCopy>& copies) {
    for (const SlotCopy& c : copies) copy_slot(c);
  }

  // For tests: what is freed is overwritten with NaN, so that nobody reads it unseen.
  void poison_freed();

  int64_t free_slots() const { return int64_t(free_.size()); }
  int64_t slots() const { return int64_t(users_.size()); }
  // Snapshots that snapshot() has room for. Without int8 these are the free slots.
  int64_t free_snapshots() const { return int8_ ? int8_->free() : free_slots(); }
  // Null where snapshots take slots.
  const Int8Snapshots* int8_snapshots() const { return int8_ ? &*int8_ : nullptr; }
  size_t slot_bytes() const { return slot_floats_ * sizeof(float); }
  static size_t bytes_of_slot(const PoolSpec& spec);
  const std::vector<LinearLayerState>& layers() const { return layers_; }
  // [S, hidden], absent without a draft head: of the last closed chunk, and of the snapshot that a live slot was resumed from.
  const Tensor& closed_hidden() const { return closed_hidden_; }
  const Tensor& resumed_hidden() const { return resumed_hidden_; }

 private:
  void lay_out(const PoolSpec& spec, int64_t slots);
  float* slot_data(int32_t slot) const;
  ClosedState closed(int32_t slot) const;
  void copy(const void* from, size_t bytes, void* to);
  void copy_slot(const SlotCopy& c);
  void go_on(int32_t slot);
  void free_slot(int32_t slot);

  Context where_;
  Buffer memory_;
  bool poison_ = false, noting_ = false;
  std::vector<SlotCopy> noted_;
  size_t slot_floats_ = 0;    // one slot: [states of all layers, their tails, hidden row | the same of all open parts]
  size_t closed_floats_ = 0;  // its first part
  size_t state_floats_ = 0;   // and of that the states
  std::optional<Int8Snapshots> int8_;
  std::vector<LinearLayerState> layers_;
  Tensor closed_hidden_, resumed_hidden_;
  std::vector<int32_t> free_;
  std::vector<int32_t> users_;  // of each slot: 0 free, kLive, or the users of a snapshot
  static constexpr int32_t kLive = -1;
};

}  // namespace sluice
