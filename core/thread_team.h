// A fixed team of threads for the operators: static, repeatable splits; workers spin briefly, then park.
//
// The caller is thread 0. Work is split over outputs only, never over a sum, so results do not depend on the team's size.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace sluice {

class ThreadTeam {
 public:
  explicit ThreadTeam(int threads);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int size() const { return size_; }

  // Calls f(thread) once on every thread of the team and returns when all are done.
  template <class F>
  void run(F&& f) {
    if (size_ == 1) return void(f(0));
    using Fn = std::remove_reference_t<F>;
    run_erased([](void* p, int thread) { (*static_cast<Fn*>(p))(thread); }, const_cast<void*>(static_cast<const void*>(&f)));
  }

  // f(begin, end, thread) over contiguous parts of [0, n); a part is never smaller than `grain` items unless it is the last.
  template <class F>
  void split(int64_t n, int64_t grain, F&& f) {
    const int64_t parts = std::clamp<int64_t>(n / std::max<int64_t>(grain, 1), 1, size_);
    if (n <= 0) return;
    if (parts == 1) return void(f(int64_t(0), n, 0));
    run([&](int thread) {
      if (thread < parts) f(n * thread / parts, n * (thread + 1) / parts, thread);
    });
  }

  // f(item, thread) for each item in [0, n), handed out in order to whoever is free. For items of uneven cost.
  template <class F>
  void each(int64_t n, F&& f) {
    if (n <= 0) return;
    if (n == 1 || size_ == 1) {
      for (int64_t i = 0; i < n; ++i) f(i, 0);
      return;
    }
    std::atomic<int64_t> next{0};
    run([&](int thread) {
      for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n;) f(i, thread);
    });
  }

 private:
  using Job = void (*)(void*, int);
  void run_erased(Job job, void* data);
  void work(int thread);

  const int size_;
  Job job_ = nullptr;
  void* data_ = nullptr;
  alignas(64) std::atomic<uint32_t> generation_{0};  // counts jobs; workers wait for it to change
  alignas(64) std::atomic<int> running_{0};          // workers still in the current job
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace sluice
