// std::bad_alloc may come out of any code. It is caught where work for one party begins: a file that is read, a request, a step, a
// connection.
#pragma once

#include <new>

#include "base/status.h"

namespace sluice {

// So short that it needs no memory itself.
inline Status out_of_memory() { return {Code::kResourceExhausted, "out of memory"}; }

// f(), for the entries of an API, which does not throw.
template <class F>
auto or_out_of_memory(F f) -> decltype(f()) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
}

}  // namespace sluice
