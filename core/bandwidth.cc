#include "core/bandwidth.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/clock.h"
#include "base/median.h"
#include "core/buffer.h"
#include "core/thread_team.h"

namespace sluice {
namespace {

constexpr size_t kPart = size_t(4) << 20;  // bytes that a thread takes at once
constexpr int64_t kPartsPerThread = 4;     // of a pass: about a millisecond

// Eight sums in turn, so that none waits for another.
uint64_t sum_of(const std::byte* data, size_t bytes) {
  using Words = uint64_t __attribute__((vector_size(16), aligned(16), may_alias));
  constexpr size_t kStep = 8 * sizeof(Words);
  Words sums[8] = {};
  for (size_t at = 0; at + kStep <= bytes; at += kStep) {
    const Words* w = reinterpret_cast<const Words*>(data + at);
    for (int i = 0; i < 8; ++i) sums[i] += w[i];
  }
  for (int i = 1; i < 8; ++i) sums[0] += sums[i];
  return sums[0][0] + sums[0][1];
}

}  // namespace

double Bandwidth::best() const { return passes.empty() ? 0 : *std::ranges::max_element(passes); }

double Bandwidth::median() const { return passes.empty() ? 0 : sluice::median(passes); }

Result<std::vector<Bandwidth>> measure_bandwidth(size_t bytes, const std::vector<int>& threads, double seconds) {
  constexpr size_t kLeastPasses = 3;
  const int64_t parts = std::max<int64_t>(1, int64_t(bytes / kPart));
  SLUICE_ASSIGN_OR_RETURN(const Buffer buffer, Buffer::allocate(size_t(parts) * kPart));
  madvise(buffer.data(), buffer.size(), MADV_HUGEPAGE);
  // Pages that nobody wrote are one and the same page of zeros; written by all threads they lie near all of them.
  ThreadTeam writers(*std::ranges::max_element(threads));
  writers.each(parts, [&](int64_t i, int) { std::memset(buffer.data() + size_t(i) * kPart, 1, kPart); });
  std::atomic<uint64_t> sum{0};  // what is read must count for something
  std::vector<Bandwidth> all;
  for (const int n : threads) {
    ThreadTeam team(n);
    Bandwidth b{.threads = n};
    int64_t first = 0;
    for (const double begin = now_seconds(); b.passes.size() < kLeastPasses || now_seconds() - begin < seconds;) {
      const int64_t count = std::min(parts, kPartsPerThread * n);
      const double start = now_seconds();
      team.each(count, [&](int64_t i, int) { sum += sum_of(buffer.data() + size_t((first + i) % parts) * kPart, kPart); });
      b.passes.push_back(double(count) * double(kPart) / (now_seconds() - start));
      first += count;
    }
    all.push_back(std::move(b));
  }
  if (sum == 0) return Status(Code::kDevice, "memory did not keep what was written");
  return all;
}

}  // namespace sluice
