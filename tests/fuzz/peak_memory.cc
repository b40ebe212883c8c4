#include "tests/fuzz/peak_memory.h"

#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <new>

namespace {

// One thread allocates in a fuzz target; what another frees only makes the figure larger.
thread_local size_t t_live = 0, t_peak = 0;

void* counted(void* p) {
  if (!p) throw std::bad_alloc();
  t_live += malloc_usable_size(p);
  t_peak = std::max(t_peak, t_live);
  return p;
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

void* operator new(std::size_t bytes) { return counted(std::malloc(bytes ? bytes : 1)); }
void* operator new[](std::size_t bytes) { return counted(std::malloc(bytes ? bytes : 1)); }
void operator delete(void* p) noexcept { release(p); }
void operator delete[](void* p) noexcept { release(p); }
void operator delete(void* p, std::size_t) noexcept { release(p); }
void operator delete[](void* p, std::size_t) noexcept { release(p); }
