#include "tests/fuzz/peak_memory.h"

#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <new>

#include "tests/support/operator_new.h"

namespace {

// One thread allocates in a fuzz target; what another frees only makes the figure larger.
thread_local size_t t_live = 0, t_peak = 0;

}  // namespace

namespace sluice::testing {

void* allocate(std::size_t bytes, std::size_t alignment) {
  const std::size_t size = bytes ? bytes : 1;
  void* p = alignment == 0 ? std::malloc(size) : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (!p) throw std::bad_alloc();
  t_live += malloc_usable_size(p);
  t_peak = std::max(t_peak, t_live);
  return p;
}

void release(void* p) noexcept {
  t_live -= std::min(t_live, malloc_usable_size(p));
  std::free(p);
}

}  // namespace sluice::testing

namespace sluice::fuzz {

PeakMemory::PeakMemory() : before_(t_live) { t_peak = t_live; }
size_t PeakMemory::peak() const { return t_peak - before_; }

}  // namespace sluice::fuzz
