// The implementations, one a file, and what they share.
#pragma once

#include <algorithm>
#include <bit>

#include "base/checked.h"
#include "core/simd_plain.h"
#include "ops/indexer_prepare/indexer_prepare.h"

namespace sluice {

Status indexer_prepare_reference(Context&, const IndexerPrepareArgs&, std::byte*);
Status indexer_prepare_cpu(Context&, const IndexerPrepareArgs&, std::byte*);
Status indexer_prepare_avx2(Context&, const IndexerPrepareArgs&, std::byte*);
Status indexer_prepare_avx512(Context&, const IndexerPrepareArgs&, std::byte*);
Status indexer_prepare_cuda(Context&, const IndexerPrepareArgs&, std::byte*);

inline constexpr float kFp8Most = 448, kFp8LeastAmax = 1e-4f;

// The scale of a row whose largest absolute value is `amax`: the same bits in every form.
constexpr float fp8_row_scale(float amax, Fp8ScaleRounding rounding) {
  const float scale = (amax > kFp8LeastAmax ? amax : kFp8LeastAmax) / kFp8Most;
  if (rounding == Fp8ScaleRounding::kNone) return scale;
  constexpr uint32_t kMantissa = 0x7fffff;
  return std::bit_cast<float>((std::bit_cast<uint32_t>(scale) + kMantissa) & ~kMantissa);
}

// Of tensors on the CPU.
SLUICE_INLINE int64_t integer_at(const Tensor& t, int64_t i) {
  return t.dtype == DType::kI64 ? t.as<int64_t>()[i * t.stride[0]] : t.as<int32_t>()[i * t.stride[0]];
}
SLUICE_INLINE float float_at(const Tensor& t, int64_t i, int64_t j) {
  const int64_t at = i * t.stride[0] + j * t.stride[1];
  return t.dtype == DType::kBF16 ? float(t.as<Bf16>()[at]) : t.as<float>()[at];
}
SLUICE_INLINE void put_float(const Tensor& t, int64_t i, int64_t j, float x) {
  if (t.present()) t.as<float>()[i * t.stride[0] + j * t.stride[1]] = x;
}
// Token t's row of cos_sin.
SLUICE_INLINE const float* cos_sin_at(const IndexerPrepareArgs& a, int64_t t) {
  const int64_t row = std::clamp<int64_t>(integer_at(a.positions, t), 0, a.cos_sin.shape[0] - 1);
  return a.cos_sin.as<float>() + row * a.cos_sin.stride[0];
}

inline int64_t indexer_tokens(const IndexerPrepareArgs& a) { return a.positions.shape[0]; }
inline int64_t indexer_dim(const IndexerPrepareArgs& a) { return a.q.x.present() ? a.q.x.shape[2] : a.k.x.shape[1]; }

// H^-0.5 * D^-0.5
float indexer_gate_factor(const IndexerPrepareArgs& a);

// The vector forms' scratch for each thread: a row, and a token's cosines and sines, with room for whole vectors.
struct IndexerScratchSizes {
  int64_t row, table;  // fp32 elements
  explicit IndexerScratchSizes(const IndexerPrepareArgs& a)
      : row(round_up(indexer_dim(a), 16)), table(round_up(a.cos_sin.shape[1], 16)) {}
  int64_t thread() const { return row + 2 * table; }
};
size_t indexer_prepare_workspace(const Context& ctx, const IndexerPrepareArgs& a);

}  // namespace sluice
