// The body of the vector forms: a token's row after another, each written by one thread.
#pragma once

#include <algorithm>
#include <cstring>

#include "core/simd.h"
#include "ops/mla_kv_store/forms.h"
#include "ops/mla_kv_store/slots.h"

namespace sluice {

// memcpy() takes no null pointer, which an absent or empty tensor has.
SLUICE_INLINE void mla_copy(std::byte* to, const std::byte* from, int64_t bytes) {
  if (bytes > 0) std::memcpy(to, from, size_t(bytes));
}

template <class V, class X>
SLUICE_INLINE void mla_store_scaled(const X* x, int64_t n, float by, std::byte* to) {
  F8E4M3* out = static_cast<F8E4M3*>(static_cast<void*>(to));
  for (int64_t d = 0; d < n; d += simd::kLanes) {
    const int lanes = simd::lanes_at(d, n);
    V::store_n(out + d, V::mul(V::load_n(x + d, lanes), V::set1(by)), lanes);
  }
}

// A group of a V32 row; gives its scale.
template <class V, class X>
SLUICE_INLINE float mla_store_group(const X* x, std::byte* to) {
  auto amax = V::zero();
  for (int64_t d = 0; d < kMlaV32Group; d += simd::kLanes) amax = V::max(V::abs(V::load(x + d)), amax);  // passes NaN over
  const uint32_t exponent = mla_v32_exponent(V::reduce_max(amax));
  mla_store_scaled<V>(x, kMlaV32Group, mla_power_of_2(2 * 127 - exponent), to);
  return mla_power_of_2(exponent);
}

template <class V, class X>
SLUICE_INLINE void mla_store_v32(const X* latent, int64_t L, const X* rope, int64_t R, std::byte* to) {
  for (int64_t d = 0; d < L; d += kMlaV32Group) {
    const float scale = mla_store_group<V>(latent + d, to + d);
    std::memcpy(to + mla_v32_scales_at(L) + d / kMlaV32Group * int64_t(sizeof scale), &scale, sizeof scale);
  }
  simd::convert<V>(rope, static_cast<Bf16*>(static_cast<void*>(to + mla_v32_rope_at(L))), R);
}

template <class V>
SLUICE_INLINE void mla_store_row(const MlaKvStoreArgs& args, const MlaRows& latent, const MlaRows& rope, int64_t t, std::byte* to) {
  const int64_t L = latent.length, R = rope.length, size = int64_t(dtype_size(args.latent.dtype));
  if (args.cache.format == MlaCacheFormat::kPlain) {
    mla_copy(to, latent.row<std::byte>(t), L * size);
    return mla_copy(to + L * size, rope.row<std::byte>(t), R * size);
  }
  visit_mla_value(args.latent, [&]<class X>(X*) {
    if (args.cache.format == MlaCacheFormat::kFlashMlaV32)
      return mla_store_v32<V>(latent.template row<X>(t), L, rope.template row<X>(t), R, to);
    const float by = 1 / args.cache.scale;
    mla_store_scaled<V>(latent.template row<X>(t), L, by, to);
    mla_store_scaled<V>(rope.template row<X>(t), R, by, to + L);
  });
}

template <class V>
Status mla_kv_store_body(Context& ctx, const MlaKvStoreArgs& args) {
  const MlaRows latent(args.latent), rope(args.rope);
  const MlaSlots slots(args.cache, args.reserved_skip_index, args.rank, args.world);
  const IndexView loc(args.loc);
  const int64_t grain =
      std::max<int64_t>(1, 32768 / std::max<int64_t>(1, latent.length + rope.length));  // worth waking a thread for
  ctx.team->split(latent.count, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t)
      if (std::byte* to = slots.row(loc[t])) mla_store_row<V>(args, latent, rope, t, to);
  });
  return {};
}

}  // namespace sluice
