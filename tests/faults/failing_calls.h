// Counts a program's allocations and its opens and reads of files, and makes chosen ones fail. A test may link failing_calls.cc and
// operator_new.cc, and call control_calls(). Or they are a library to preload (LD_PRELOAD): whoever starts the program makes a file
// of one Control and names it in SLUICE_FAILING_CALLS; it may be written and read while the program runs. Counted is from main()
// on: nobody could answer for what the loader and static objects ask.
#pragma once

#include <atomic>
#include <cstdint>

namespace sluice::testing {

enum CallKind : int64_t {
  kAllocation = 1,  // operator new, malloc and its kin, mmap without a file
  kRead = 2,        // open, fopen, read, readv, pread, mmap of a file
};

constexpr int64_t kShortRead = -1;  // half of what was asked for, at least a byte; opens and mappings succeed

// failing_calls.py has the same layout.
struct Control {
  std::atomic<int64_t> kind;                // what fails: a CallKind, or 0
  std::atomic<int64_t> first, last;         // the first and last such call that does, from 1
  std::atomic<int64_t> error;               // errno of a failed read, or kShortRead; an allocation's is ENOMEM
  std::atomic<int64_t> allocations, reads;  // so many there were
  std::atomic<int64_t> failed;
  std::atomic<int64_t> trace;  // not 0: failed calls write their stacks to stderr, as addresses
};

// From now on this one counts and says what fails; null: none does. While there is one thread.
void control_calls(Control* control);

}  // namespace sluice::testing
