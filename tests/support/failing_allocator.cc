#include "tests/support/failing_allocator.h"

#include <atomic>
#include <cstdlib>
#include <limits>
#include <new>

#include "tests/support/operator_new.h"

namespace sluice::testing::failing_allocator {
namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

std::atomic<int64_t> g_begin{kNever}, g_end{kNever};  // allocations [begin, end) fail, counted by g_count
std::atomic<int64_t> g_count{0}, g_failed{0}, g_live{0};
thread_local int t_exempt = 0;

}  // namespace

void arm(int64_t nth, int64_t count) {
  g_begin = kNever;
  g_count = g_failed = 0;
  g_end = nth + count;
  g_begin = nth;
}

bool disarm() {
  g_begin = kNever;
  return g_failed.exchange(0) > 0;
}

int64_t live() { return g_live; }

Exempt::Exempt() { ++t_exempt; }
Exempt::~Exempt() { --t_exempt; }

}  // namespace sluice::testing::failing_allocator

namespace sluice::testing {

using namespace failing_allocator;

void* allocate(std::size_t bytes, std::size_t alignment) {
  if (t_exempt == 0 && g_begin != kNever) {
    const int64_t n = ++g_count;
    if (n >= g_begin && n < g_end) {
      ++g_failed;
      throw std::bad_alloc();
    }
  }
  const std::size_t size = bytes == 0 ? 1 : bytes;
  void* p = alignment == 0 ? std::malloc(size) : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (!p) throw std::bad_alloc();
  ++g_live;
  return p;
}

void release(void* p) noexcept {
  if (!p) return;
  --g_live;
  std::free(p);
}

}  // namespace sluice::testing
