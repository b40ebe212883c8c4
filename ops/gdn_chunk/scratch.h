// What one thread needs while it appends rows to a head's open chunk. All fp32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/simd.h"
#include "ops/gdn_chunk/gdn_chunk.h"

namespace sluice::gdn {

struct Scratch {
  float* rows;          // [2 * 64][K]: k_i, q_i
  float* dots;          // [2 * 64][64]: k_i.k_j, q_i.k_j
  float* coefficients;  // [2 * 64][64]: the same with decay
  float* o;             // [64][V]
  float* decay;         // [64]: e^{G_i}
  float* beta;          // [64]
  float* closing;       // [K][64]: decayed keys
};

SLUICE_INLINE size_t scratch_floats(int64_t K, int64_t V) { return size_t(kChunk) * (3 * K + V + 4 * kChunk + 2); }

SLUICE_INLINE size_t scratch_bytes(int threads, int64_t K, int64_t V) { return threads * scratch_floats(K, V) * sizeof(float); }

SLUICE_INLINE Scratch scratch_at(std::byte* memory, int64_t K, int64_t V, int thread) {
  float* p = reinterpret_cast<float*>(memory) + size_t(thread) * scratch_floats(K, V);
  Scratch s;
  s.rows = p, p += 2 * kChunk * K;
  s.dots = p, p += 2 * kChunk * kChunk;
  s.coefficients = p, p += 2 * kChunk * kChunk;
  s.o = p, p += kChunk * V;
  s.closing = p, p += kChunk * K;
  s.decay = p, p += kChunk;
  s.beta = p;
  return s;
}

}  // namespace sluice::gdn
