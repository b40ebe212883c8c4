// How much the thread's code had at most of the heap, over what was there before. peak_memory.cc replaces operator new: link it
// into the one target that wants it.
#pragma once

#include <cstddef>

namespace sluice::fuzz {

class PeakMemory {
 public:
  PeakMemory();
  size_t peak() const;  // bytes

 private:
  size_t before_;
};

}  // namespace sluice::fuzz
