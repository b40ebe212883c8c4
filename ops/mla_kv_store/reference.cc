#include <cmath>
#include <cstring>
#include <limits>

#include "ops/mla_kv_store/forms.h"
#include "ops/mla_kv_store/slots.h"

namespace sluice {
namespace {

template <class X>
void put_scaled(const X* x, int64_t n, float by, std::byte* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = std::byte{F8E4M3(float(x[i]) * by).bits};
}

// One group of a V32 row: its elements at `to`, its scale at `scale_at`.
template <class X>
void put_group(const X* x, std::byte* to, std::byte* scale_at) {
  double amax = 0;
  for (int64_t i = 0; i < kMlaV32Group; ++i) amax = std::fmax(amax, std::abs(double(float(x[i]))));
  amax = std::min(amax, double(std::numeric_limits<float>::max()));
  const double scale = std::exp2(std::ceil(std::log2(std::max(amax / 448, 1e-4))));
  for (int64_t i = 0; i < kMlaV32Group; ++i) to[i] = std::byte{F8E4M3(float(double(float(x[i])) / scale)).bits};
  const float stored = float(scale);
  std::memcpy(scale_at, &stored, sizeof stored);
}

template <class X>
void put_v32(const X* latent, int64_t L, const X* rope, int64_t R, std::byte* to) {
  for (int64_t g = 0; g < L / kMlaV32Group; ++g)
    put_group(latent + g * kMlaV32Group, to + g * kMlaV32Group, to + mla_v32_scales_at(L) + g * int64_t(sizeof(float)));
  for (int64_t i = 0; i < R; ++i) {
    const Bf16 x{float(rope[i])};
    std::memcpy(to + mla_v32_rope_at(L) + 2 * i, &x, sizeof x);
  }
}

}  // namespace

Status mla_kv_store_reference(Context&, const MlaKvStoreArgs& args, std::byte*) {
  const MlaRows latent(args.latent), rope(args.rope);
  const MlaSlots slots(args.cache, args.reserved_skip_index, args.rank, args.world);
  const IndexView loc(args.loc);
  const int64_t L = latent.length, R = rope.length, size = int64_t(dtype_size(args.latent.dtype));
  for (int64_t t = 0; t < latent.count; ++t) {
    std::byte* to = slots.row(loc[t]);
    if (!to) continue;
    if (args.cache.format == MlaCacheFormat::kPlain) {
      if (L > 0) std::memcpy(to, latent.row<std::byte>(t), size_t(L * size));
      if (R > 0) std::memcpy(to + L * size, rope.row<std::byte>(t), size_t(R * size));
      continue;
    }
    visit_mla_value(args.latent, [&]<class X>(X*) {
      if (args.cache.format == MlaCacheFormat::kFlashMlaV32) return put_v32(latent.row<X>(t), L, rope.row<X>(t), R, to);
      const float by = 1 / args.cache.scale;
      put_scaled(latent.row<X>(t), L, by, to), put_scaled(rope.row<X>(t), R, by, to + L);
    });
  }
  return {};
}

}  // namespace sluice
