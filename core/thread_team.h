// A fixed team of threads for the operators. The caller is thread 0 and never waits for a helper to show up: work is cut into parts
// that are claimed one by one, so a helper that lost its core to another process costs its share of the speed and nothing else.
// Each thread begins with a stretch of neighbouring parts and reads memory in one long run; when it is through, it takes from the
// stretches of the others.
//
// Work is split over outputs only, never over a sum, so results depend neither on the team's size nor on who did what.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace sluice {

class ThreadTeam {
 public:
  explicit ThreadTeam(int threads);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int size() const { return size_; }

  // f(item, thread) for each item in [0, n). `thread` is below size(); one thread runs one item at a time, so scratch may be kept
  // by thread.
  template <class F>
  void each(int64_t n, F&& f) {
    if (n <= 1 || size_ == 1) {
      for (int64_t i = 0; i < n; ++i) f(i, 0);
      return;
    }
    for (int t = 0; t < size_; ++t) stretches_[t].next.store(stretch_begin(n, t), std::memory_order_relaxed);
    auto job = [&](int thread) {
      for (int turn = 0; turn < size_; ++turn) {
        const int t = (thread + turn) % size_;
        for (int64_t i, end = stretch_begin(n, t + 1); (i = stretches_[t].next.fetch_add(1, std::memory_order_relaxed)) < end;)
          f(i, thread);
      }
    };
    share([](void* p, int thread) { (*static_cast<decltype(job)*>(p))(thread); }, &job);
  }

  // Whether the thread that runs `item` of n is likely to run the next one too, so that it may fetch ahead for it.
  bool goes_on(int64_t item, int64_t n, int thread) const {
    return item >= stretch_begin(n, thread) && item + 1 < stretch_begin(n, thread + 1);
  }

  // f(begin, end, thread) over contiguous parts of [0, n), none smaller than `grain` items unless there is only one.
  template <class F>
  void split(int64_t n, int64_t grain, F&& f) {
    if (n <= 0) return;
    const int64_t parts = std::clamp<int64_t>(n / std::max<int64_t>(grain, 1), 1, kPartsPerThread * size_);
    each(parts, [&](int64_t i, int thread) { f(n * i / parts, n * (i + 1) / parts, thread); });
  }

 private:
  static constexpr int64_t kPartsPerThread = 4;  // enough to even out threads of unequal speed

  int64_t stretch_begin(int64_t n, int thread) const { return n * thread / size_; }

  using Job = void (*)(void*, int);
  // Runs job(data, 0) here and job(data, thread) on each helper that joins before this one is done.
  void share(Job job, void* data);
  void help(int thread);

  // The door to the current job: its number, how many helpers went in, and whether it is open.
  static constexpr uint64_t kOpen = 1, kOneInside = 2, kNumber = uint64_t(1) << 32;

  // Where a thread's stretch of the current job goes on.
  struct alignas(64) Stretch {
    std::atomic<int64_t> next{0};
  };

  const int size_;
  const std::unique_ptr<Stretch[]> stretches_;  // one a thread
  Job job_ = nullptr;
  void* data_ = nullptr;
  alignas(64) std::atomic<uint64_t> door_{0};
  alignas(64) std::atomic<uint32_t> left_{0};  // helpers that came out of the current job
  alignas(64) std::atomic<uint32_t> bell_{0};  // changes with every job; parked helpers wait on it
  std::atomic<bool> stop_{false};
  std::vector<std::thread> helpers_;
};

}  // namespace sluice
