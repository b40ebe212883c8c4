#include "tests/fuzz/peak_memory.h"

#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <new>

namespace {

// One thread allocates in a fuzz target; what another frees only makes the figure larger.
thread_local size_t t_live = 0, t_peak = 0;

void* allocate_or_null(std::size_t bytes, std::size_t alignment) noexcept {
  const std::size_t size = bytes ? bytes : 1;
  void* p = alignment == 0 ? std::malloc(size) : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (p) t_live += malloc_usable_size(p);
  t_peak = std::max(t_peak, t_live);
  return p;
}

void* allocate(std::size_t bytes, std::size_t alignment) {
  void* p = allocate_or_null(bytes, alignment);
  return p ? p : throw std::bad_alloc();
}

void release(void* p) noexcept {
  t_live -= std::min(t_live, malloc_usable_size(p));
  std::free(p);
}

}  // namespace

namespace sluice::fuzz {

PeakMemory::PeakMemory() : before_(t_live) { t_peak = t_live; }
size_t PeakMemory::peak() const { return t_peak - before_; }

}  // namespace sluice::fuzz

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
