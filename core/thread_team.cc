#include "core/thread_team.h"

#include "base/clock.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sluice {
namespace {

inline void cpu_relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// Long enough to bridge the serial stretches of a step, short enough that an idle engine costs nothing.
constexpr double kSpinSeconds = 200e-6;

}  // namespace

ThreadTeam::ThreadTeam(int threads) : size_(std::max(1, threads)) {
  for (int i = 1; i < size_; ++i) workers_.emplace_back([this, i] { work(i); });
}

ThreadTeam::~ThreadTeam() {
  stop_.store(true);
  generation_.fetch_add(1);
  generation_.notify_all();
  for (auto& w : workers_) w.join();
}

void ThreadTeam::run_erased(Job job, void* data) {
  job_ = job, data_ = data;
  running_.store(size_ - 1, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  job(data, 0);
  // A worker may have lost its core to another process: yield after a while instead of holding ours against it.
  constexpr int kSpins = 1000;  // about 70 us on CPUs whose pause takes 140 cycles
  for (int spins = 0; running_.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins < kSpins) cpu_relax();
    else std::this_thread::yield();
  }
}

void ThreadTeam::work(int thread) {
  for (uint32_t seen = 0;;) {
    const double deadline = now_seconds() + kSpinSeconds;
    uint32_t current;
    for (int spins = 0; (current = generation_.load(std::memory_order_acquire)) == seen; ++spins) {
      cpu_relax();
      if (spins % 16 != 15) continue;
      std::this_thread::yield();  // so that another process that wants this core gets it
      if (now_seconds() > deadline) generation_.wait(seen, std::memory_order_acquire);
    }
    seen = current;
    if (stop_.load()) return;
    job_(data_, thread);
    running_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace sluice
