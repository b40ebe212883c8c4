// The cache of multi-head latent attention: for each token one row, the latent that keys and values are made from and the rotated
// part of the key, which all heads share.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace sluice {

// What a row's bytes mean. Formats of equal size are not told apart by their bytes, so the format goes with the cache.
enum class MlaCacheFormat : unsigned char {
  kPlain,       // latent | rope, as they came; any type
  kScaledE4M3,  // latent | rope as e4m3; a number times MlaCache::scale is what it stands for
  kFlashMlaV32  // FlashMLA's "V32" (656 bytes for 512 | 64): latent as e4m3 | fp32 scales of 128 of them each | rope as bf16
};

struct MlaCache {
  // [slots, W], or [pages, page, W] with slot s in row s % page of page s / page; strides free but in the last dimension, so that
  // pages may have slack between them. A row may be longer than what is stored in it.
  Tensor rows;
  MlaCacheFormat format = MlaCacheFormat::kPlain;
  float scale = 1;  // of kScaledE4M3
};

// FlashMLA's V32 (deepseek-ai/FlashMLA, tests/quant.py). A group's scale is 2^ceil(log2(max(amax / 448, 1e-4))).
inline constexpr int64_t kMlaV32Group = 128;  // elements of the latent under one scale

constexpr int64_t mla_v32_scales_at(int64_t latent_dim) { return latent_dim; }  // bytes
constexpr int64_t mla_v32_rope_at(int64_t latent_dim) { return latent_dim + latent_dim / kMlaV32Group * int64_t(sizeof(float)); }
constexpr int64_t mla_v32_row_bytes(int64_t latent_dim, int64_t rope_dim) { return mla_v32_rope_at(latent_dim) + 2 * rope_dim; }

}  // namespace sluice
