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

void end(std::vector<std::thread>& helpers, std::atomic<bool>& stop, std::atomic<uint32_t>& bell) {
  stop.store(true);
  bell.fetch_add(1);
  bell.notify_all();
  for (auto& h : helpers) h.join();
}

}  // namespace

ThreadTeam::ThreadTeam(int threads) : size_(std::max(1, threads)), stretches_(new Stretch[size_]) {
  try {
    for (int i = 1; i < size_; ++i) helpers_.emplace_back([this, i] { help(i); });
  } catch (const std::exception&) {  // there cannot be so many
    end(helpers_, stop_, bell_);
    throw;
  }
}

ThreadTeam::~ThreadTeam() { end(helpers_, stop_, bell_); }

void ThreadTeam::share(Job job, void* data) {
  // Nobody is inside: the last call waited for that.
  job_ = job, data_ = data;
  left_.store(0, std::memory_order_relaxed);
  const uint64_t number = (door_.load(std::memory_order_relaxed) & ~(kNumber - 1)) + kNumber;
  door_.store(number | kOpen, std::memory_order_release);
  bell_.fetch_add(1, std::memory_order_release);
  bell_.notify_all();
  job(data, 0);
  const uint64_t closed = door_.fetch_and(~kOpen, std::memory_order_acq_rel);
  const auto inside = uint32_t(closed & (kNumber - 1)) / kOneInside;
  constexpr int kSpins = 1000;  // some 70 us; then the helper has likely lost its core, and spinning would not bring it back
  for (int spins = 0; left_.load(std::memory_order_acquire) != inside; ++spins) {
    if (spins < kSpins) cpu_relax();
    else std::this_thread::yield();
  }
}

void ThreadTeam::help(int thread) {
  uint64_t seen = 0;
  for (double deadline = now_seconds() + kSpinSeconds;;) {
    // The bell first: who reads it after the last ring sees that the team ends, and who read it before does not sleep through that.
    const uint32_t bell = bell_.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_acquire)) return;
    uint64_t door = door_.load(std::memory_order_acquire);
    while ((door & kOpen) && door / kNumber != seen) {
      if (!door_.compare_exchange_weak(door, door + kOneInside, std::memory_order_acq_rel)) continue;
      seen = door / kNumber;
      job_(data_, thread);
      left_.fetch_add(1, std::memory_order_release);
      deadline = now_seconds() + kSpinSeconds;
    }
    for (int spins = 0; spins < 16; ++spins) cpu_relax();
    if (now_seconds() > deadline) {
      bell_.wait(bell, std::memory_order_acquire);
      deadline = now_seconds() + kSpinSeconds;
    }
  }
}

}  // namespace sluice
