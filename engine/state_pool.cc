#include "engine/state_pool.h"

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

Result<StatePool> StatePool::create(const PoolSpec& spec, int64_t slots, const Context& where) {
  StatePool p;
  p.where_ = where;
  p.lay_out(spec, slots);
  SLUICE_ASSIGN_OR_RETURN(p.memory_, allocate_memory(p.where_, p.slot_floats_ * sizeof(float) * size_t(slots)));
  p.lay_out(spec, slots);
  for (int64_t s = slots - 1; s >= 0; --s) p.free_.push_back(int32_t(s));
  p.users_.assign(size_t(slots), 0);
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
  closed_floats_ = layers * (s + tail) + floats(c.hidden_size);
  const size_t resumed = closed_floats_ + layers * (ring + k + u + g);
  slot_floats_ = resumed + floats(c.hidden_size);
  layers_.clear();
  if (!base) return;
  if (c.hidden_size > 0) {
    closed_hidden_ = over_slots(base, layers * (s + tail), slots, pitch, {c.hidden_size}, c.kv_dtype, where_.device);
    resumed_hidden_ = over_slots(base, resumed, slots, pitch, {c.hidden_size}, c.kv_dtype, where_.device);
  }
  for (size_t l = 0; l < layers; ++l) {
    const size_t closed = l * (s + tail), open = closed_floats_ + l * (ring + k + u + g);
    const auto part = [&](size_t offset, std::initializer_list<int64_t> dims) {
      return over_slots(base, offset, slots, pitch, dims, DType::kF32, where_.device);
    };
    layers_.push_back({.gdn = {.s = part(closed, {c.value_heads, c.key_dim, c.value_dim}),
                               .k = part(open + ring, {c.key_heads, c.key_dim, kChunk}),
                               .u = part(open + ring + k, {c.value_heads, kChunk, c.value_dim}),
                               .g = part(open + ring + k + u, {c.value_heads, kChunk})},
                       .conv_ring = part(open, {kRingRows, c.conv_channels}),
                       .conv_tail = part(closed + s, {c.conv_width - 1, c.conv_channels})});
    each_tensor(layers_.back().gdn, [&](Tensor& t, GpuLayout layout = GpuLayout::kAsIs) {
      if (t.on_gpu()) t = t.laid_out(layout);
    });
  }
}

float* StatePool::slot_data(int32_t slot) const { return reinterpret_cast<float*>(memory_.data()) + size_t(slot) * slot_floats_; }

// A copy that fails means a lost device, which the next step reports.
void StatePool::copy(const void* from, size_t bytes, void* to) { (void)copy_memory(where_, from, bytes, to); }

void StatePool::copy_slot(const SlotCopy& c) {
  if (noting_) noted_.push_back(c);
  copy(slot_data(c.from), closed_floats_ * sizeof(float), slot_data(c.to));
  if (!c.resumed) return;
  for (const auto& layer : layers_) {  // the tail is the end of the ring: a snapshot stands at a multiple of its rows
    const Tensor tail = layer.conv_tail[c.to], ring = layer.conv_ring[c.to];
    copy(tail.data, tail.bytes(), ring[kRingRows - tail.dim(0)].data);
  }
  if (closed_hidden_.present()) copy(closed_hidden_[c.to].data, closed_hidden_[c.to].bytes(), resumed_hidden_[c.to].data);
}

Result<int32_t> StatePool::acquire() {
  if (free_.empty()) return Status(Code::kResourceExhausted, "all " + std::to_string(users_.size()) + " state slots are taken");
  const int32_t slot = free_.back();
  free_.pop_back();
  users_[slot] = kLive;
  return slot;
}

Result<int32_t> StatePool::snapshot(int32_t slot) {
  assert(users_[slot] == kLive);
  SLUICE_ASSIGN_OR_RETURN(const int32_t copy, acquire());
  users_[copy] = 1;
  copy_slot({.from = slot, .to = copy, .resumed = false});
  return copy;
}

void StatePool::freeze(int32_t slot) {
  assert(users_[slot] == kLive);
  users_[slot] = 1;
}

Result<int32_t> StatePool::resume(int32_t snapshot) {
  assert(users_[snapshot] > 0);
  SLUICE_ASSIGN_OR_RETURN(const int32_t slot, acquire());
  copy_slot({.from = snapshot, .to = slot, .resumed = true});
  return slot;
}

void StatePool::retain(int32_t snapshot) {
  assert(users_[snapshot] > 0);
  ++users_[snapshot];
}

void StatePool::release(int32_t slot) {
  assert(users_[slot] != 0);
  if (users_[slot] != kLive && --users_[slot] > 0) return;
  users_[slot] = 0;
  if (poison_) (void)fill_memory(where_, slot_data(slot), 0xff, slot_bytes());
  free_.push_back(slot);
}

}  // namespace sluice
