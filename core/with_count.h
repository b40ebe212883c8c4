// A small number that is known when the program runs, as one that is known to the compiler.
#pragma once

#include "core/simd_plain.h"

namespace sluice {

// f.operator()<n>() for an n from 1 to kMost.
template <int kMost, class F>
SLUICE_INLINE decltype(auto) with_count(int n, F&& f) {
  if constexpr (kMost > 1)
    if (n < kMost) return with_count<kMost - 1>(n, f);
  return f.template operator()<kMost>();
}

}  // namespace sluice
