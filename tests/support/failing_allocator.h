// Makes chosen allocations of the program fail. It replaces operator new: link failing_allocator.cc into the one test that wants
// it.
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
