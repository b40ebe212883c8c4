#include "tests/support/failing_allocator.h"

#include <atomic>
#include <cstdlib>
#include <limits>
#include <new>

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

static void* allocate(std::size_t bytes, std::size_t alignment) {
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

static void release(void* p) noexcept {
  if (!p) return;
  --g_live;
  std::free(p);
}

}  // namespace sluice::testing::failing_allocator

using sluice::testing::failing_allocator::allocate;
using sluice::testing::failing_allocator::release;

static void* allocate_or_null(std::size_t bytes, std::size_t alignment) noexcept {
  try {
    return allocate(bytes, alignment);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

// All forms: the library's array and nothrow ones call these, but a sanitizer's do not.
void* operator new(std::size_t bytes) { return allocate(bytes, 0); }
void* operator new[](std::size_t bytes) { return allocate(bytes, 0); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return allocate_or_null(bytes, 0); }
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept { return allocate_or_null(bytes, 0); }
void* operator new(std::size_t bytes, std::align_val_t alignment) { return allocate(bytes, std::size_t(alignment)); }
void* operator new[](std::size_t bytes, std::align_val_t alignment) { return allocate(bytes, std::size_t(alignment)); }
void operator delete(void* p) noexcept { release(p); }
void operator delete[](void* p) noexcept { release(p); }
void operator delete(void* p, std::size_t) noexcept { release(p); }
void operator delete[](void* p, std::size_t) noexcept { release(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { release(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { release(p); }
void operator delete(void* p, std::align_val_t) noexcept { release(p); }
void operator delete[](void* p, std::align_val_t) noexcept { release(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { release(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { release(p); }
