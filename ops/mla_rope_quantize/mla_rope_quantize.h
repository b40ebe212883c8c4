// mla_rope_quantize: queries and new keys of multi-head latent attention as fp8, their rope parts turned on the way (what
// FlashInfer calls mla_rope_quantize_fp8).
//
//   pair i of token t turns by the angle whose cosine and sine are cos_sin[positions[t], i] and cos_sin[positions[t], R/2 + i]:
//   y1 = x1 c - x2 s,  y2 = x2 c + x1 s;  half-split ("neox"): dims (i, i + R/2);  interleaved: dims (2i, 2i + 1)
//   out = fp8(y * scale) of rope parts, fp8(x * scale) of the others; scale_q for q, scale_kv for k
//
// All of it in fp32 with one rounding to fp8, to nearest even, which stops at the largest finite number (448, 57344); NaN stays
// NaN. A position that the table has not is kInvalidArgument; on a GPU, where it cannot be seen ahead, its rope parts are NaN.
//
// With a cache, k's rows go to their slots as mla_kv_store would write k_nope_out | k_rope_out, byte for byte.
//
// Tolerance: codes within one of the reference's, fewer than one in a thousand different.
#pragma once

#include <span>

#include "core/impl.h"
#include "ops/mla_kv_store/mla_cache.h"
#include "ops/rope/rope.h"

namespace sluice {

struct MlaRopeQuantizeArgs {
  Tensor q_rope;     // [T, H, R] f32, f16 or bf16, stride free but in the last dimension; q's two inputs may be absent
  Tensor k_rope;     // [T, R] or [T, 1, R], q's type; k's two inputs may be absent
  Tensor q_nope;     // [T, H, N] likewise
  Tensor k_nope;     // [T, N] or [T, 1, N] likewise
  Tensor cos_sin;    // [P, R] f32: R / 2 cosines, then as many sines
  Tensor positions;  // [T] i32 or i64
  // As their inputs, but e4m3 or e5m2, all of them one type. They may be parts of one [T, H, N + R], and of rows of a cache.
  Tensor q_rope_out, k_rope_out, q_nope_out, k_nope_out;
  MlaCache cache;  // kScaledE4M3, its scale 1 / scale_kv; instead of k's outputs
  Tensor loc;      // [T] i32 or i64, with a cache: as mla_kv_store's
  int64_t reserved_skip_index = -1;
  int rank = 0, world = 1;
  RopeStyle style = RopeStyle::kInterleaved;
  float scale_q = 1, scale_kv = 1;
};

template <class F>
void each_tensor(MlaRopeQuantizeArgs& args, F&& f) {
  f(args.q_rope), f(args.k_rope), f(args.q_nope), f(args.k_nope), f(args.cos_sin), f(args.positions);
  f(args.q_rope_out), f(args.k_rope_out), f(args.q_nope_out), f(args.k_nope_out), f(args.cache.rows), f(args.loc);
}

Status check_mla_rope_quantize(const MlaRopeQuantizeArgs& args);
std::span<const Impl<MlaRopeQuantizeArgs>> mla_rope_quantize_impls();
Status mla_rope_quantize(Context& ctx, const MlaRopeQuantizeArgs& args);

}  // namespace sluice
