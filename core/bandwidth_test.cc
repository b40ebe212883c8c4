#include "core/bandwidth.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(Bandwidth, IsMeasuredForEachNumberOfThreads) {
  const auto measured = measure_bandwidth(size_t(8) << 20, {1, 2}, 0.0);
  ASSERT_TRUE(measured.ok());
  ASSERT_EQ(measured->size(), 2u);
  for (const Bandwidth& b : *measured) {
    EXPECT_EQ(b.passes.size(), 3u);  // the least, however short the time
    EXPECT_GT(b.median(), 0);
    EXPECT_GE(b.best(), b.median());
  }
  EXPECT_EQ((*measured)[1].threads, 2);
}

TEST(Bandwidth, BestAndMedian) {
  const Bandwidth b{.threads = 1, .passes = {3, 9, 1, 5, 4}};
  EXPECT_EQ(b.best(), 9);
  EXPECT_EQ(b.median(), 4);
  EXPECT_EQ(Bandwidth{}.best(), 0);
}

}  // namespace
}  // namespace sluice
