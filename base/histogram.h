// Values counted by size: counts[i] of those up to bounds[i] and above the bound before, the last of what is above all bounds.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

namespace sluice {

// The first i with value <= bounds[i], which ascend; bounds.size() if there is none.
inline size_t bucket_of(std::span<const double> bounds, double value) {
  return size_t(std::ranges::lower_bound(bounds, value) - bounds.begin());
}

struct HistogramCounts {
  explicit HistogramCounts(std::span<const double> b) : bounds(b), counts(b.size() + 1) {}
  void add(double value) { ++counts[bucket_of(bounds, value)], sum += value; }
  int64_t total() const { return std::accumulate(counts.begin(), counts.end(), int64_t{0}); }

  std::span<const double> bounds;  // must outlive it
  std::vector<int64_t> counts;
  double sum = 0;
};

// The same for many threads at once; nobody waits. Those who count are few and mostly one (the engine's thread), so the counts need
// no copy for each thread.
class Histogram {
 public:
  explicit Histogram(std::span<const double> bounds) : bounds_(bounds.begin(), bounds.end()), counts_(bounds.size() + 1) {}
  Histogram(const Histogram&) = delete;
  Histogram& operator=(const Histogram&) = delete;

  // `times` equal values. One below zero, or that is no number, would spoil the sum for good: it counts as zero.
  void observe(double value, int64_t times = 1) {
    if (!(value >= 0)) value = 0;
    counts_[bucket_of(bounds_, value)].fetch_add(times, std::memory_order_relaxed);
    sum_.fetch_add(value * double(times), std::memory_order_relaxed);
  }
  // What was counted so far; the sum may be of a few values more or less.
  HistogramCounts read() const {
    HistogramCounts c(bounds_);
    for (size_t i = 0; i < counts_.size(); ++i) c.counts[i] = counts_[i].load(std::memory_order_relaxed);
    c.sum = sum_.load(std::memory_order_relaxed);
    return c;
  }

 private:
  const std::vector<double> bounds_;
  std::vector<std::atomic<int64_t>> counts_;
  std::atomic<double> sum_{0};
};

}  // namespace sluice
