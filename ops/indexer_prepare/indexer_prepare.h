// indexer_prepare: queries, keys and head weights of the sparse-attention indexer (DeepSeek-V3.2, GLM-5), ready to be scored.
//
//   turned(x)  = rope (as ops/rope) of the first R dims at the token's position; then, where asked for, ops/hadamard
//   query row  = turned(q[t, h])
//   key row    = turned((k[t] - mean) / sqrt(variance + eps) * norm_weight + norm_bias)
//   scale(row) = max(max |row|, 1e-4) / 448 in fp32, or the least power of two that is not below it
//   codes(row) = e4m3(row / scale(row))
//   gate[t, h] = weights[t, h] * H^-0.5 * D^-0.5 * (scale of the query row where it goes out as codes, else 1)
//
// A token's score for a key is then the sum over h of gate * relu(q . k), times the key's scale. Everything between input and
// output is fp32. Hadamard does not change a product of q and k but for rounding: both must have it, and a cache is bound to the
// choice. A NaN counts for nothing in a scale, and gives NaN codes where it gets to.
//
// Tolerance: fp32 outputs, scales and gates rel_rms 2e-6, max_rel 2e-5; bf16 outputs 4e-3, 8e-3; codes differ by one step at most,
// and less than one in a thousand does.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"
#include "ops/rope/rope.h"

namespace sluice {

// How a row's fp8 scale is rounded: not at all, or up to a power of two (DeepSeek's scale_fmt ue8m0).
enum class Fp8ScaleRounding : unsigned char { kNone, kPowerOfTwo };

struct IndexerQuery {
  Tensor x;        // [T, H, D] f32 or bf16, stride free but in the last dimension
  Tensor weights;  // [T, H] f32 or bf16, strides free; may be absent
  Tensor out;      // [T, H, D] f8 e4m3 (codes), f32 or bf16; may be x itself
  Tensor scale;    // [T, H] f32, strides free; of codes only, may be absent
  Tensor gate;     // [T, H] f32, strides free; where there are weights
};

struct IndexerKey {
  Tensor x;                       // [T, D] f32 or bf16, row stride free
  Tensor norm_weight, norm_bias;  // [D] f32 or bf16, both the same
  Tensor out;                     // [T, D] f32 or bf16, not quantised; may be x itself, may be absent where there is a cache
  Tensor cache;                   // [pages, tokens * 132] u8, ops/index_cache; D is 128; may be absent
  Tensor loc;                     // [T] i32 or i64, the token's place in the cache; below 0 or behind the last page: not written
};

struct IndexerPrepareArgs {
  IndexerQuery q;    // x is absent: no queries
  IndexerKey k;      // x is absent: no keys
  Tensor positions;  // [T] i32 or i64; a position outside cos_sin takes its first or last row
  Tensor cos_sin;    // [P, R] f32: cosines of the R / 2 pairs at each position, then their sines; row stride free
  RopeStyle style = RopeStyle::kHalfSplit;  // DeepSeek-V3.2; GLM-5: kInterleaved
  bool hadamard = false;                    // D is a power of two
  Fp8ScaleRounding scale_rounding = Fp8ScaleRounding::kNone;
  float eps = 1e-6f;
};

template <class F>
void each_tensor(IndexerPrepareArgs& a, F&& f) {
  f(a.q.x), f(a.q.weights), f(a.q.out), f(a.q.scale), f(a.q.gate);
  f(a.k.x), f(a.k.norm_weight), f(a.k.norm_bias), f(a.k.out), f(a.k.cache), f(a.k.loc);
  f(a.positions), f(a.cos_sin);
}

Status check_indexer_prepare(const IndexerPrepareArgs& a);
std::span<const Impl<IndexerPrepareArgs>> indexer_prepare_impls();
Status indexer_prepare(Context& ctx, const IndexerPrepareArgs& a);

}  // namespace sluice
