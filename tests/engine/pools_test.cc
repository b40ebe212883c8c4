#include <gtest/gtest.h>

#include "engine/kv_pool.h"
#include "engine/state_pool.h"

namespace sluice {
namespace {

constexpr PoolSpec kSpec{.linear_layers = 2,
                         .key_heads = 1,
                         .value_heads = 2,
                         .key_dim = 16,
                         .value_dim = 16,
                         .conv_channels = 64,
                         .conv_width = 4,
                         .attention_layers = 1,
                         .kv_heads = 1,
                         .head_dim = 16,
                         .hidden_size = 7};

TEST(StatePool, SlotsAreAdmittedNeverAsserted) {
  auto pool = StatePool::create(kSpec, 2).value();
  const int32_t a = pool.acquire().value(), b = pool.acquire().value();
  EXPECT_NE(a, b);
  EXPECT_EQ(pool.acquire().status().code(), Code::kResourceExhausted);
  pool.release(a);
  EXPECT_EQ(pool.acquire().value(), a);
}

TEST(StatePool, SnapshotsAreCopiesCountedByTheirUsers) {
  auto pool = StatePool::create(kSpec, 3).value();
  const int32_t live = pool.acquire().value();
  auto state_of = [&](int32_t slot) { return pool.layers()[1].gdn.s[slot].as<float>(); };
  auto tail_of = [&](int32_t slot) { return pool.layers()[1].conv_tail[slot].as<float>(); };
  state_of(live)[5] = 42, tail_of(live)[7] = 43;
  const int32_t snapshot = pool.snapshot(live).value();
  state_of(live)[5] = 0;
  EXPECT_EQ(state_of(snapshot)[5], 42);
  EXPECT_EQ(tail_of(snapshot)[7], 43);
  const int32_t resumed = pool.resume(snapshot).value();
  EXPECT_EQ(state_of(resumed)[5], 42);
  EXPECT_EQ(pool.layers()[1].conv_ring[resumed][13].as<float>()[7], 43) << "the tail's rows are the ring's last three";
  pool.retain(snapshot);
  pool.release_snapshot(snapshot);
  EXPECT_EQ(pool.free_slots(), 0) << "one user is left";
  pool.release_snapshot(snapshot);
  EXPECT_EQ(pool.free_slots(), 1);
  const int32_t frozen = pool.freeze(live).value();
  EXPECT_EQ(frozen, live) << "no copy is made";
  pool.retain(frozen);
  pool.release_snapshot(frozen);
  EXPECT_EQ(pool.free_slots(), 1) << "a frozen slot is counted by its users too";
  pool.release_snapshot(frozen);
  EXPECT_EQ(pool.free_slots(), 2);
}

TEST(StatePool, SlotsDoNotOverlap) {
  auto pool = StatePool::create(kSpec, 3).value();
  float next = 1;
  auto each = [&](auto&& f) {
    for (const auto& layer : pool.layers())
      for (const Tensor& t : {layer.gdn.s, layer.gdn.k, layer.gdn.u, layer.gdn.g, layer.conv_ring, layer.conv_tail})
        for (int64_t slot = 0; slot < 3; ++slot)
          for (int64_t i = 0; i < t[slot].numel(); ++i) f(t[slot].as<float>()[i]);
  };
  each([&](float& x) { x = next++; });
  next = 1;
  for (int64_t slot = 0; slot < 3; ++slot)
    for (int64_t i = 0; i < 7; ++i) pool.closed_hidden()[slot].as<Bf16>()[i] = Bf16(float(i));
  each([&](float& x) { ASSERT_EQ(x, next++); });
}

TEST(KvPool, GrowsAllOrNothing) {
  auto pool = KvPool::create(kSpec, 3).value();
  std::vector<int32_t> a, b;
  EXPECT_TRUE(pool.grow(a, 65).ok());
  EXPECT_EQ(a.size(), 2u);
  EXPECT_TRUE(pool.grow(a, 128).ok());
  EXPECT_EQ(a.size(), 2u);
  EXPECT_EQ(pool.grow(b, 129).code(), Code::kResourceExhausted);
  EXPECT_TRUE(b.empty());
  pool.retain(a[0]);
  std::vector<int32_t> shared{a[0]};
  pool.release(a);
  EXPECT_EQ(pool.free_pages(), 2);
  pool.release(shared);
  EXPECT_EQ(pool.free_pages(), 3);
}

}  // namespace
}  // namespace sluice
