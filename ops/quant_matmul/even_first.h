// For files that are compiled for AVX2 or more.
#pragma once

#include <immintrin.h>

#include "core/quantised.h"
#include "core/simd.h"

namespace sluice {

// GroupParts::even_first(): the codes of a group's even k, then those of its odd k.
SLUICE_INLINE void avx2_even_first(int8_t* q) {
  static_assert(kQuantGroup == sizeof(__m256i));
  const __m256i apart = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
  const __m256i codes = _mm256_shuffle_epi8(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(q)), apart);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(q), _mm256_permute4x64_epi64(codes, 0xd8));
}

}  // namespace sluice
