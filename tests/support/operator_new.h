// Link operator_new.cc into a test, and all forms of operator new and delete come here.
#pragma once

#include <cstddef>

namespace sluice::testing {

// For the test to define. alignment 0: malloc's. Throws std::bad_alloc.
void* allocate(std::size_t bytes, std::size_t alignment);
void release(void* p) noexcept;  // p may be null

}  // namespace sluice::testing
