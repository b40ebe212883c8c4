#include "engine/int8_snapshots.h"

#include <cassert>
#include <cmath>

#include "base/checked.h"
#include "core/memory.h"
#include "ops/state_dequant/state_dequant.h"
#include "ops/state_quant/state_quant.h"

namespace sluice {
namespace {

size_t whole_lines(size_t bytes) { return size_t(round_up(int64_t(bytes), int64_t(kCacheLine))); }

}  // namespace

Int8Snapshots::Layout::Layout(const ClosedState& like) {
  const size_t states = size_t(like.states.dim(0)), rows = states * size_t(like.states.dim(1));
  scales = whole_lines(rows * size_t(like.states.dim(2)));
  errors = scales + whole_lines(rows * sizeof(float));
  rest = errors + whole_lines(states * sizeof(float));
  bytes = rest + whole_lines(like.rest_bytes);
}

Result<Int8Snapshots> Int8Snapshots::create(const ClosedState& like, int64_t places, const Context& where) {
  constexpr int64_t kLanes = 16;  // of ops/state_quant
  if (like.states.dim(2) % kLanes != 0)
    return invalid("snapshots in int8 need heads of a multiple of 16 values, not " + std::to_string(like.states.dim(2)),
                   "use --snapshots fp32");
  Int8Snapshots s;
  s.where_ = where, s.layout_ = Layout(like);
  SLUICE_ASSIGN_OR_RETURN(s.memory_, allocate_memory(s.where_, s.layout_.bytes * size_t(places)));
  for (int64_t i = places - 1; i >= 0; --i) s.free_.push_back(int32_t(i));
  s.users_.assign(size_t(places), 0);
  return s;
}

Int8Snapshots::Place Int8Snapshots::place(int32_t snapshot, const ClosedState& like) const {
  const int64_t states = like.states.dim(0), rows = like.states.dim(1), length = like.states.dim(2);
  std::byte* at = memory_.data() + size_t(snapshot) * layout_.bytes;
  return {.codes = Tensor(at, DType::kI8, {states, rows, length}, where_.device),
          .scales = Tensor(at + layout_.scales, DType::kF32, {states, rows}, where_.device),
          .errors = Tensor(at + layout_.errors, DType::kF32, {states}, where_.device),
          .rest = at + layout_.rest};
}

Result<double> Int8Snapshots::worst_error(const Place& at) {
  SLUICE_ASSIGN_OR_RETURN(const std::vector<float> errors, host_copy<float>(where_, at.errors));
  double worst = 0;
  for (const float e : errors) {
    if (std::isnan(e)) return double(e);
    worst = std::max(worst, double(e));
  }
  return worst;
}

Result<int32_t> Int8Snapshots::keep(const ClosedState& from) {
  if (free_.empty()) return Status(Code::kResourceExhausted, "all " + std::to_string(places()) + " places for snapshots are taken");
  const int32_t snapshot = free_.back();
  const Place to = place(snapshot, from);
  SLUICE_RETURN_IF_ERROR(state_quant(where_, {.x = from.states, .q = to.codes, .scale = to.scales, .error = to.errors}));
  SLUICE_RETURN_IF_ERROR(copy_memory(where_, from.rest, from.rest_bytes, to.rest));
  SLUICE_ASSIGN_OR_RETURN(const double error, worst_error(to));
  if (!std::isfinite(error)) return Status(Code::kModelError, "a recurrent state is not finite");
  errors_.add(error);
  free_.pop_back();
  users_[snapshot] = 1;
  return snapshot;
}

// What fails here means a lost device, which the next step reports.
void Int8Snapshots::restore(int32_t snapshot, const ClosedState& to) {
  assert(users_[snapshot] > 0);
  const Place from = place(snapshot, to);
  (void)state_dequant(where_, {.q = from.codes, .scale = from.scales, .x = to.states});
  (void)copy_memory(where_, from.rest, to.rest_bytes, to.rest);
}

void Int8Snapshots::retain(int32_t snapshot) {
  assert(users_[snapshot] > 0);
  ++users_[snapshot];
}

void Int8Snapshots::release(int32_t snapshot) {
  assert(users_[snapshot] > 0);
  if (--users_[snapshot] > 0) return;
  if (poison_) (void)fill_memory(where_, memory_.data() + size_t(snapshot) * layout_.bytes, 0xff, layout_.bytes);
  free_.push_back(snapshot);
}

}  // namespace sluice
