#include "ops/conv_tail/conv_tail.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

// Element (position p, channel c) of every input is p % 32 + c / 8, which bf16 holds, so that a tail says where it came from.
constexpr int64_t kSlots = 4, kRing = 16, kChannels = 5, kKept = 3;

float value_at(int64_t p, int64_t c) { return float(p % 32) + float(c) / 8; }

struct Pool {
  Storage ring{DType::kF32, {kSlots, kRing, kChannels}}, tail{DType::kF32, {kSlots, kKept, kChannels}};
  Pool() {
    tail.fill([] { return -1; });
  }
  // The ring as it is when the sequence in `slot` has `length` tokens.
  void reach(int64_t slot, int64_t length) {
    for (int64_t p = std::max<int64_t>(0, length - kRing); p < length; ++p)
      for (int64_t c = 0; c < kChannels; ++c) ring.tensor()[slot][p % kRing].as<float>()[c] = value_at(p, c);
  }
  void expect_tail_at(int64_t slot, int64_t end) const {
    for (int64_t i = 0; i < kKept; ++i)
      for (int64_t c = 0; c < kChannels; ++c)
        EXPECT_EQ(tail.tensor()[slot][i].as<float>()[c], end ? value_at(end - kKept + i, c) : -1) << "slot " << slot;
  }
};

void run(const Impl<ConvTailArgs>& impl, DType dtype, Pool& pool, const std::vector<int64_t>& starts,
         const std::vector<int64_t>& rows, const std::vector<int64_t>& slots) {
  std::vector<int64_t> cu{0};
  std::vector<float> wanted;
  for (const int64_t n : rows) cu.push_back(cu.back() + n);
  Storage qkv(dtype, {cu.back(), kChannels}, kChannels + 2);
  for (size_t b = 0; b < rows.size(); ++b) {
    if (slots[b] >= 0) pool.reach(slots[b], starts[b]);
    for (int64_t i = 0; i < rows[b]; ++i)
      for (int64_t c = 0; c < kChannels; ++c) wanted.push_back(value_at(starts[b] + i, c));
  }
  qkv.fill([&, next = size_t(0)]() mutable { return wanted[next++]; });
  const Storage cu_seqlens = ints(cu), start = ints(starts), slot = ints(slots);
  run_ok(impl, {.qkv = qkv, .conv_ring = pool.ring, .cu_seqlens = cu_seqlens, .start = start, .slots = slot, .tail = pool.tail});
}

// f of every form that runs here, with qkv of either type.
template <class F>
void each_form(F&& f) {
  for (const DType dtype : {DType::kF32, DType::kBF16})
    for (const auto* impl : runnable(conv_tail_impls(), ConvTailArgs{})) f(*impl, dtype);
}

TEST(ConvTail, OfTheLastChunkThatTheStepReaches) {
  each_form([](const auto& impl, DType dtype) {
    Pool pool;
    run(impl, dtype, pool, {0, 60, 100, 62}, {200, 3, 29, 2}, {0, 1, 2, 3});
    pool.expect_tail_at(0, 192), pool.expect_tail_at(1, 0), pool.expect_tail_at(2, 128), pool.expect_tail_at(3, 64);
  });
}

TEST(ConvTail, RowsBeforeTheStepComeFromTheRing) {
  each_form([](const auto& impl, DType dtype) {
    for (const int64_t start : {61, 62, 63, 64, 65})
      for (const int64_t rows : {1, 2, 3, 70}) {
        Pool pool;
        run(impl, dtype, pool, {start}, {rows}, {2});
        const int64_t end = (start + rows) / 64 * 64;
        pool.expect_tail_at(2, end > start ? end : 0);
      }
  });
}

TEST(ConvTail, WithoutRowsWhereTheSequenceStands) {
  each_form([](const auto& impl, DType dtype) {
    Pool pool;
    run(impl, dtype, pool, {128, 0, 130, 64}, {0, 0, 0, 0}, {0, 1, 2, -1});
    pool.expect_tail_at(0, 128), pool.expect_tail_at(1, 0), pool.expect_tail_at(2, 0), pool.expect_tail_at(3, 0);
  });
}

TEST(ConvTail, RefusesBadArguments) {
  const Pool pool;
  const Storage qkv(DType::kF32, {2, kChannels}), cu = ints({0, 2}), bad_cu = ints({0, 1}), start = ints({0}), slot = ints({9});
  ConvTailArgs a{.qkv = qkv, .conv_ring = pool.ring, .cu_seqlens = bad_cu, .start = start, .slots = start, .tail = pool.tail};
  EXPECT_EQ(check_conv_tail(a).message(), "conv_tail: cu_seqlens must go from 0 to the rows of qkv");
  a.cu_seqlens = cu, a.slots = slot;
  EXPECT_EQ(check_conv_tail(a).message(), "conv_tail: slots names a slot outside the pool");
  a.tail = {};
  EXPECT_EQ(check_conv_tail(a).message(), "conv_tail: tail is missing");
}

}  // namespace
}  // namespace sluice
