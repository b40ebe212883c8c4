// Makes chosen allocations by operator new fail, within a test: link failing_allocator.cc and operator_new.cc into it. For whole
// programs see tests/faults/failing_calls.h.
#pragma once

#include <cstdint>

namespace sluice::testing::failing_allocator {

// From now on, of all threads: the nth allocation (from 1) fails, and so do those behind it, `count` in all.
void arm(int64_t nth, int64_t count = 1);
// No more fail. Whether any did.
bool disarm();

// Allocations that have not been freed.
int64_t live();

// While it lives its thread's allocations succeed and are not counted: the test's own, beside the program under test.
class Exempt {
 public:
  Exempt();
  ~Exempt();
  Exempt(const Exempt&) = delete;
  Exempt& operator=(const Exempt&) = delete;
};

}  // namespace sluice::testing::failing_allocator
