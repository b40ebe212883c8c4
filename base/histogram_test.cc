#include "base/histogram.h"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>

namespace sluice {
namespace {

TEST(Histogram, ABoundBelongsToTheValuesUpToIt) {
  constexpr double kBounds[] = {1, 2};
  HistogramCounts c(kBounds);
  for (const double value : {0.5, 1.0, 1.5, 2.0, 2.5}) c.add(value);
  EXPECT_EQ(c.counts, (std::vector<int64_t>{2, 2, 1}));
  EXPECT_EQ(c.total(), 5);
  EXPECT_EQ(c.sum, 7.5);
  EXPECT_EQ(bucket_of({}, 3), 0u);
}

TEST(Histogram, BadValuesDoNotSpoilTheSum) {
  constexpr double kBounds[] = {1, 2};
  Histogram h(kBounds);
  h.observe(std::nan(""));
  h.observe(-5);
  h.observe(1.5, 4);
  EXPECT_EQ(h.read().counts, (std::vector<int64_t>{2, 4, 0}));
  EXPECT_EQ(h.read().sum, 6);
}

TEST(Histogram, ManyThreadsLoseNothing) {
  constexpr double kBounds[] = {1, 2, 3};
  constexpr int kThreads = 8, kEach = 20000;
  Histogram h(kBounds);
  std::atomic<bool> stop = false;
  std::thread reader([&] {
    std::vector<int64_t> before(4);
    while (!stop) {
      const HistogramCounts now = h.read();
      for (size_t i = 0; i < 4; ++i) ASSERT_GE(now.counts[i], before[i]);
      before = now.counts;
    }
  });
  std::vector<std::thread> writers;
  for (int t = 0; t < kThreads; ++t)
    writers.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) h.observe(i % 4 + 0.5);
    });
  for (auto& w : writers) w.join();
  stop = true;
  reader.join();
  EXPECT_EQ(h.read().counts, (std::vector<int64_t>(4, kThreads * kEach / 4)));
  EXPECT_EQ(h.read().sum, kThreads * kEach * 2.0);
}

}  // namespace
}  // namespace sluice
