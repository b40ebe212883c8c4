// Snapshots with the recurrent states in int8: a scale for each row of a state (ops/state_quant), and what else is closed as it is.
//
// A place is free or holds a snapshot, counted by its users. What is restored is near the state that was kept, not that state.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/histogram.h"
#include "base/status.h"
#include "core/context.h"
#include "core/tensor.h"

namespace sluice {

// The closed part of a slot.
struct ClosedState {
  Tensor states;              // [N, R, D] f32: of all layers and heads, rows as they lie in memory
  std::byte* rest = nullptr;  // convolution tails and a draft head's row, exact in every snapshot
  size_t rest_bytes = 0;
};

class Int8Snapshots {
 public:
  // Relative RMS errors.
  static constexpr std::array<double, 12> kErrorBounds{.001, .002, .003, .004, .005, .006, .008, .01, .015, .02, .05, .1};

  // `like` has the sizes; its data is not touched. Places are in the memory of a context's device.
  static Result<Int8Snapshots> create(const ClosedState& like, int64_t places, const Context& where);
  static size_t place_bytes(const ClosedState& like) { return Layout(like).bytes; }

  // With one user. kResourceExhausted where no place is free; kModelError where a state is not finite: what would be restored from
  // it is of no use to anybody.
  Result<int32_t> keep(const ClosedState& from);
  void restore(int32_t snapshot, const ClosedState& to);
  void retain(int32_t snapshot);
  void release(int32_t snapshot);

  // For tests, as StatePool's.
  void poison_freed() { poison_ = true; }

  int64_t free() const { return int64_t(free_.size()); }
  int64_t places() const { return int64_t(users_.size()); }
  size_t place_bytes() const { return layout_.bytes; }
  // Of each snapshot that was kept, its worst head's relative RMS error.
  const HistogramCounts& errors() const { return errors_; }

 private:
  // Offsets into a place.
  struct Layout {
    size_t scales = 0, errors = 0, rest = 0, bytes = 0;
    Layout() = default;
    explicit Layout(const ClosedState& like);
  };
  struct Place {
    Tensor codes, scales, errors;
    std::byte* rest;
  };
  Place place(int32_t snapshot, const ClosedState& like) const;
  // The largest of a place's errors; NaN where one is.
  Result<double> worst_error(const Place& at);

  Context where_;
  Buffer memory_;
  Layout layout_;
  bool poison_ = false;
  std::vector<int32_t> free_, users_;
  HistogramCounts errors_{kErrorBounds};
};

}  // namespace sluice
