#include "engine/state_pool.h"

#include <algorithm>
#include <cassert>

#include "base/checked.h"
#include "core/memory.h"

namespace sluice {
namespace {

// A tensor of one layer over all slots: `offset` floats into each slot. `pitch`: floats from slot to slot.
Tensor over_slots(float* base, size_t offset, int64_t slots, size_t pitch, std::initializer_list<int64_t> dims,
                  DType dtype = DType::kF32, Device device = {}) {
  Tensor one(base + offset, dtype, dims, device), t = one;
  t.rank = one.rank + 1;
  t.shape[0] = slots, t.stride[0] = int64_t(pitch * sizeof(float) / dtype_size(dtype));
  for (int i = 0; i < one.rank; ++i) t.shape[i + 1] = one.shape[i], t.stride[i + 1] = one.stride[i];
  return t;
}

// Rounded so that every part starts on a cache line.
size_t floats(int64_t n) { return size_t(round_up(n, int64_t(kCacheLine / sizeof(float)))); }

}  // namespace

Result<StatePool> StatePool::create(const PoolSpec& spec, int64_t slots, const Context& where, std::optional<int64_t> running) {
  StatePool p;
  p.where_ = where;
  const int64_t others = running ? std::max<int64_t>(0, slots - *running) : 0;
  slots -= others;
  p.lay_out(spec, slots);
  SLUICE_ASSIGN_OR_RETURN(p.memory_, allocate_memory(p.where_, p.slot_floats_ * sizeof(float) * size_t(slots)));
  p.lay_out(spec, slots);
  for (int64_t s = slots - 1; s >= 0; --s) p.free_.push_back(int32_t(s));
  p.users_.assign(size_t(slots), 0);
  if (running) {
    const size_t place = std::max<size_t>(Int8Snapshots::place_bytes(p.closed(0)), 1);
    SLUICE_ASSIGN_OR_RETURN(p.int8_, Int8Snapshots::create(p.closed(0), int64_t(size_t(others) * p.slot_bytes() / place), where));
  }
  return p;
}

size_t StatePool::bytes_of_slot(const PoolSpec& spec) {
  StatePool p;
  p.lay_out(spec, 0);
  return p.slot_bytes();
}

// Called twice: for the sizes, and for the tensors once there is memory.
void StatePool::lay_out(const PoolSpec& c, int64_t slots) {
  float* base = reinterpret_cast<float*>(memory_.data());
  const size_t pitch = slot_floats_, layers = size_t(c.linear_layers);
  const size_t s = floats(c.value_heads * c.key_dim * c.value_dim), tail = floats((c.conv_width - 1) * c.conv_channels);
  const size_t ring = floats(kRingRows * c.conv_channels), k = floats(c.key_heads * c.key_dim * kChunk);
  const size_t u = floats(c.value_heads * kChunk * c.value_dim), g = floats(c.value_heads * kChunk);
  state_floats_ = layers * s;
  closed_floats_ = state_floats_ + layers * tail + floats(c.hidden_size);
  const size_t resumed = closed_floats_ + layers * (ring + k + u + g);
  slot_floats_ = resumed + floats(c.hidden_size);
  layers_.clear();
  if (!base) return;
  if (c.hidden_size > 0) {
    closed_hidden_ = over_slots(base, state_floats_ + layers * tail, slots, pitch, {c.hidden_size}, c.kv_dtype, where_.device);
    resumed_hidden_ = over_slots(base, resumed, slots, pitch, {c.hidden_size}, c.kv_dtype, where_.device);
  }
  for (size_t l = 0; l < layers; ++l) {
    const size_t open = closed_floats_ + l * (ring + k + u + g);
    const auto part = [&](size_t offset, std::initializer_list<int64_t> dims) {
      return over_slots(base, offset, slots, pitch, dims, DType::kF32, where_.device);
    };
    layers_.push_back({.gdn = {.s = part(l * s, {c.value_heads, c.key_dim, c.value_dim}),
                               .k = part(open + ring, {c.key_heads, c.key_dim, kChunk}),
                               .u = part(open + ring + k, {c.value_heads, kChunk, c.value_dim}),
                               .g = part(open + ring + k + u, {c.value_heads, kChunk})},
                       .conv_ring = part(open, {kRingRows, c.conv_channels}),
                       .conv_tail = part(state_floats_ + l * tail, {c.conv_width - 1, c.conv_channels})});
    each_tensor(layers_.back().gdn, [&](Tensor& t, GpuLayout layout = GpuLayout::kAsIs) {
      if (t.on_gpu()) t = t.laid_out(layout);
    });
  }
}

float* StatePool::slot_data(int32_t slot) const { return reinterpret_cast<float*>(memory_.data()) + size_t(slot) * slot_floats_; }

// States lie one behind the other, in whichever order of rows the device has them.
ClosedState StatePool::closed(int32_t slot) const {
  Tensor states(nullptr, DType::kF32, {0, 0, 0});
  if (!layers_.empty()) {
    states = layers_[0].gdn.s[slot];
    if (!states.inner_contiguous()) states = states.swap_last_two();
    states.shape[0] *= int64_t(layers_.size());
  }
  return {.states = states,
          .rest = reinterpret_cast<std::byte*>(slot_data(slot) + state_floats_),
          .rest_bytes = (closed_floats_ - state_floats_) * sizeof(float)};
}

// A copy that fails means a lost device, which the next step reports.
void StatePool::copy(const void* from, size_t bytes, void* to) { (void)copy_memory(where_, from, bytes, to); }

void StatePool::copy_slot(const SlotCopy& c) {
  if (noting_) noted_.push_back(c);
  copy(slot_data(c.from), closed_floats_ * sizeof(float), slot_data(c.to));
  if (c.resumed) go_on(c.to);
}

// The open part of a slot whose closed part is a snapshot's.
void StatePool::go_on(int32_t slot) {
  for (const auto& layer : layers_) {  // the tail is the end of the ring: a snapshot stands at a multiple of its rows
    const Tensor tail = layer.conv_tail[slot], ring = layer.conv_ring[slot];
    copy(tail.data, tail.bytes(), ring[kRingRows - tail.dim(0)].data);
  }
  if (closed_hidden_.present()) copy(closed_hidden_[slot].data, closed_hidden_[slot].bytes(), resumed_hidden_[slot].data);
}

Result<int32_t> StatePool::acquire() {
  if (free_.empty()) return Status(Code::kResourceExhausted, "all " + std::to_string(users_.size()) + " state slots are taken");
  const int32_t slot = free_.back();
  free_.pop_back();
  users_[slot] = kLive;
  return slot;
}

void StatePool::release(int32_t slot) {
  assert(users_[slot] == kLive);
  free_slot(slot);
}

void StatePool::free_slot(int32_t slot) {
  users_[slot] = 0;
  if (poison_) (void)fill_memory(where_, slot_data(slot), 0xff, slot_bytes());
  free_.push_back(slot);
}

Result<int32_t> StatePool::snapshot(int32_t slot) {
  assert(users_[slot] == kLive);
  if (int8_) return int8_->keep(closed(slot));
  SLUICE_ASSIGN_OR_RETURN(const int32_t copy, acquire());
  users_[copy] = 1;
  copy_slot({.from = slot, .to = copy, .resumed = false});
  return copy;
}

Result<int32_t> StatePool::freeze(int32_t slot) {
  assert(users_[slot] == kLive);
  if (!int8_) {
    users_[slot] = 1;
    return slot;
  }
  SLUICE_ASSIGN_OR_RETURN(const int32_t snapshot, int8_->keep(closed(slot)));
  free_slot(slot);
  return snapshot;
}

Result<int32_t> StatePool::resume(int32_t snapshot) {
  assert(int8_ || users_[snapshot] > 0);
  SLUICE_ASSIGN_OR_RETURN(const int32_t slot, acquire());
  if (int8_) int8_->restore(snapshot, closed(slot)), go_on(slot);
  else copy_slot({.from = snapshot, .to = slot, .resumed = true});
  return slot;
}

void StatePool::retain(int32_t snapshot) {
  if (int8_) return int8_->retain(snapshot);
  assert(users_[snapshot] > 0);
  ++users_[snapshot];
}

void StatePool::release_snapshot(int32_t snapshot) {
  if (int8_) return int8_->release(snapshot);
  assert(users_[snapshot] > 0);
  if (--users_[snapshot] == 0) free_slot(snapshot);
}

void StatePool::poison_freed() {
  poison_ = true;
  if (int8_) int8_->poison_freed();
}

}  // namespace sluice
