// A call as all forms see it: rows of heads, of which k is the last. For the CPU and for kernels.
#pragma once

#include "ops/mla_kv_store/slots.h"
#include "ops/mla_rope_quantize/mla_rope_quantize.h"

namespace sluice {

// Rows of a tensor [T, H, D], or [T, D] as one head. Strides in bytes.
struct MlaPart {
  std::byte* data = nullptr;
  int64_t token = 0, head = 0;

  MlaPart() = default;
  explicit MlaPart(const Tensor& t)
      : data(static_cast<std::byte*>(t.data)),
        token(t.stride[0] * int64_t(dtype_size(t.dtype))),
        head(t.rank == 3 ? t.stride[1] * int64_t(dtype_size(t.dtype)) : 0) {}
  template <class T>
  SLUICE_INLINE constexpr T* row(int64_t t, int64_t h) const {
    return static_cast<T*>(static_cast<void*>(data + t * token + h * head));
  }
};

// Where a row's two parts go, or that they go nowhere.
struct MlaRowOut {
  std::byte *nope, *rope;
  bool nowhere = false;
};

struct MlaRopeCall {
  MlaPart q_nope, q_rope, k_nope, k_rope, q_nope_out, q_rope_out, k_nope_out, k_rope_out;
  IndexView positions, loc;
  MlaSlots slots;
  bool to_cache = false, interleaved = false;
  int64_t tokens = 0, heads = 0, rows = 0;  // heads: of q; rows: of a token, q's and k's
  int64_t nope = 0, rope = 0;               // lengths
  const float* table = nullptr;
  int64_t table_rows = 0, table_stride = 0;
  float scale_q = 1, scale_kv = 1;

  SLUICE_INLINE explicit MlaRopeCall(const MlaRopeQuantizeArgs& a)
      : q_nope(a.q_nope),
        q_rope(a.q_rope),
        k_nope(a.k_nope),
        k_rope(a.k_rope),
        q_nope_out(a.q_nope_out),
        q_rope_out(a.q_rope_out),
        k_nope_out(a.k_nope_out),
        k_rope_out(a.k_rope_out),
        positions(a.positions),
        loc(a.loc),
        to_cache(a.cache.rows.present()),
        interleaved(a.style == RopeStyle::kInterleaved),
        tokens(a.positions.shape[0]),
        heads(a.q_rope.shape[1]),
        rows(heads + a.k_rope.present()),
        rope(a.cos_sin.shape[1]),
        table(static_cast<const float*>(a.cos_sin.data)),
        table_rows(a.cos_sin.shape[0]),
        table_stride(a.cos_sin.stride[0]),
        scale_q(a.scale_q),
        scale_kv(a.scale_kv) {
    const Tensor& x = a.q_nope.present() ? a.q_nope : a.k_nope;
    nope = x.shape[x.rank - 1];
    if (to_cache) slots = MlaSlots(a.cache, a.reserved_skip_index, a.rank, a.world);
  }

  SLUICE_INLINE constexpr float scale(int64_t head) const { return head < heads ? scale_q : scale_kv; }
  template <class X>
  SLUICE_INLINE constexpr const X* nope_in(int64_t t, int64_t head) const {
    return head < heads ? q_nope.row<const X>(t, head) : k_nope.row<const X>(t, 0);
  }
  template <class X>
  SLUICE_INLINE constexpr const X* rope_in(int64_t t, int64_t head) const {
    return head < heads ? q_rope.row<const X>(t, head) : k_rope.row<const X>(t, 0);
  }
  SLUICE_INLINE constexpr MlaRowOut out(int64_t t, int64_t head) const {
    if (head < heads) return {q_nope_out.row<std::byte>(t, head), q_rope_out.row<std::byte>(t, head)};
    if (!to_cache) return {k_nope_out.row<std::byte>(t, 0), k_rope_out.row<std::byte>(t, 0)};
    const int64_t at = slots.offset(loc[t]);
    return {slots.data + at, slots.data + at + nope, at < 0};
  }
  // A position's row of the table; null where the table has none.
  SLUICE_INLINE constexpr const float* cosines(int64_t position) const {
    return position >= 0 && position < table_rows ? table + position * table_stride : nullptr;
  }
};

// Calls f with a null pointer of the fp8 type of the call's outputs.
template <class F>
decltype(auto) visit_mla_fp8(const MlaRopeQuantizeArgs& a, F&& f) {
  const Tensor& out = a.q_rope_out.present() ? a.q_rope_out : a.k_rope_out;
  return out.present() && out.dtype == DType::kF8E5M2 ? f(static_cast<F8E5M2*>(nullptr)) : f(static_cast<F8E4M3*>(nullptr));
}

}  // namespace sluice
