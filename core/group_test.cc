#include "core/group.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/thread_ranks.h"

namespace sluice {
namespace {

using testing::with_ranks;

TEST(Ranks, AgreeOnTheFirstError) {
  with_ranks(3, [](Ranks& ranks) {
    EXPECT_TRUE(ranks.agree({}).ok());
    const Status second = ranks.agree(ranks.rank() == 1 ? Status(Code::kIo, "a disk", "mend it") : Status());
    EXPECT_EQ(second.code(), Code::kIo);
    EXPECT_EQ(second.to_string(), "rank 1: a disk; mend it");
    const Status first = ranks.agree(Status(Code::kNotFound, std::string(size_t(ranks.rank()), 'x') + "a file"));
    EXPECT_EQ(first.to_string(), "a file");
    EXPECT_EQ(ranks.least(7 - ranks.rank()).value(), 5);
  });
}

// Numbers whose sum depends on the order.
float part(int rank, int64_t i) { return std::ldexp(float(1 + (i * 7 + rank * 13) % 31), (rank * 11 + int(i)) % 40 - 20); }

TEST(HostGroup, AddsInOrderOfRanks) {
  for (const int size : {2, 4}) {
    constexpr int64_t kCount = 1000;
    with_ranks(size, [&](Ranks& ranks) {
      Context cpu;
      const auto group = make_group(ranks, cpu).value();
      std::vector<float> x(kCount);
      std::vector<Bf16> narrow(kCount);
      for (int64_t i = 0; i < kCount; ++i) x[size_t(i)] = part(ranks.rank(), i), narrow[size_t(i)] = Bf16(part(ranks.rank(), i));
      ASSERT_TRUE(group->sum(cpu, Tensor::of(x.data(), {kCount / 10, 10})).ok());
      ASSERT_TRUE(group->sum(cpu, Tensor::of(narrow.data(), {kCount})).ok());
      for (int64_t i = 0; i < kCount; ++i) {
        float want = part(0, i), of_bf16 = float(Bf16(part(0, i)));
        for (int r = 1; r < size; ++r) want += part(r, i), of_bf16 += float(Bf16(part(r, i)));
        ASSERT_EQ(x[size_t(i)], want) << i;
        ASSERT_EQ(float(narrow[size_t(i)]), float(Bf16(of_bf16))) << i;
      }
      std::vector<int32_t> ids(4);
      EXPECT_EQ(group->sum(cpu, Tensor::of(ids.data(), {4})).code(), Code::kUnsupported);
    });
  }
}

TEST(HostGroup, GathersAndBroadcasts) {
  with_ranks(3, [](Ranks& ranks) {
    Context cpu;
    const auto group = make_group(ranks, cpu).value();
    const float first = float(ranks.rank());
    std::vector<float> mine{first, first + 10}, all(6, -1), expected{0, 10, 1, 11, 2, 12};
    ASSERT_TRUE(group->gather(cpu, Tensor::of(mine.data(), {1, 2}), Tensor::of(all.data(), {3, 2})).ok());
    EXPECT_EQ(all, expected);
    ASSERT_TRUE(group->broadcast(cpu, Tensor::of(mine.data(), {2})).ok());
    EXPECT_EQ(mine, (std::vector<float>{0, 10}));
  });
}

}  // namespace
}  // namespace sluice
