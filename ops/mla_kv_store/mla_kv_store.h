// mla_kv_store: writes the rows of new tokens into a cache of multi-head latent attention.
//
//   the row of slot loc[t] / world  <-  latent[t] | rope[t], in the cache's format
//
//   kPlain        the bytes as they came
//   kScaledE4M3   e4m3(x * (1 / scale)), the reciprocal and the product in fp32
//   kFlashMlaV32  latent: e4m3(x / s), s = 2^ceil(log2(max(amax / 448, 1e-4))) over each 128 elements, and s; rope: bf16(x)
//
// e4m3 rounds to nearest even and stops at 448; NaN stays NaN, and amax passes it over. An infinite amax has the scale of the
// largest finite one. Nothing is written for loc[t] < 0, for loc[t] == reserved_skip_index and, of a cache that is one of `world`
// shards, where loc[t] % world != rank. What is behind the cache's last slot is kInvalidArgument; on a GPU, where locations cannot
// be seen ahead, nothing is written for it. Locations that are equal, and not of these, leave elements of any of their rows.
//
// Exact: all forms write the same bytes (a NaN's sign aside).
#pragma once

#include <span>

#include "core/impl.h"
#include "ops/mla_kv_store/mla_cache.h"

namespace sluice {

struct MlaKvStoreArgs {
  Tensor latent;   // [T, L] or [T, 1, L], f32, f16 or bf16; of kPlain, the cache's type. Stride free but in the last dimension
  Tensor rope;     // [T, R] or [T, 1, R], likewise, the latent's type; may be absent
  Tensor loc;      // [T] i32 or i64
  MlaCache cache;  // W >= L + R; kScaledE4M3: e4m3; kFlashMlaV32: bytes (u8 or e4m3), L a multiple of 128, rows 16-byte aligned
  int64_t reserved_skip_index = -1;
  int rank = 0, world = 1;
};

template <class F>
void each_tensor(MlaKvStoreArgs& args, F&& f) {
  f(args.latent), f(args.rope), f(args.loc), f(args.cache.rows);
}

Status check_mla_kv_store(const MlaKvStoreArgs& args);
std::span<const Impl<MlaKvStoreArgs>> mla_kv_store_impls();
Status mla_kv_store(Context& ctx, const MlaKvStoreArgs& args);

}  // namespace sluice
