// Quantised matrices as checkpoints hold them: codes and scales, weight(n, k) = code(n, k) * scale of its group. Told apart by
// types and shapes.
//
//   int8  codes I8 [N, K]; scale [N, J] f32, f16 or bf16: K / J neighbouring elements of a row share one. J = 1 is one a row
//         (compressed-tensors "int-quantized", strategies "channel" and "group")
//   int4  codes I32 [N, K / 8]: eight neighbouring k in a word, the first in the lowest four bits, stored as code + 8; scale
//         as for int8 (compressed-tensors "pack-quantized", symmetric)
//   fp8   codes F8_E4M3 [N, K]; scale [ceil(N / 128), ceil(K / 128)] f32 or bf16: a block of 128 x 128 shares one
//         (DeepSeek-V3's weight_scale_inv, which is multiplied by, whatever its name says)
//
// K of int8 and int4 and their groups are multiples of 32.
#pragma once

#include <string>

#include "base/checked.h"
#include "core/check.h"

namespace sluice {

inline constexpr int64_t kQuantGroup = 32;  // elements of k: the least that share a scale in int8 and int4
inline constexpr int64_t kFp8Block = 128;   // rows and elements of k that share a scale in fp8
inline constexpr int64_t kCodesOfWord = 8;  // int4 codes in an int32
inline constexpr int kInt4Offset = 8;       // what is added to an int4 code to store it

enum class CodeType : unsigned char { kInt8, kInt4, kFp8 };

constexpr bool is_code_type(DType t) { return t == DType::kI8 || t == DType::kI32 || t == DType::kF8E4M3; }

inline CodeType code_type(const Tensor& codes) {
  return codes.dtype == DType::kI8 ? CodeType::kInt8 : codes.dtype == DType::kI32 ? CodeType::kInt4 : CodeType::kFp8;
}

// K: how many weights a row of codes stands for.
inline int64_t quantised_depth(const Tensor& codes) { return codes.shape[1] * (codes.dtype == DType::kI32 ? kCodesOfWord : 1); }

// How many neighbouring k share a scale.
inline int64_t scale_group(const Tensor& codes, const Tensor& scale) {
  return code_type(codes) == CodeType::kFp8 ? kFp8Block : quantised_depth(codes) / scale.shape[1];
}

// A row of codes, as bytes: in a mapped file it may lie at any address. An int4's first code is in the first byte's lower half.
inline const uint8_t* row_of_codes(const Tensor& codes, int64_t n) {
  return static_cast<const uint8_t*>(codes.data) + n * codes.stride[0] * int64_t(dtype_size(codes.dtype));
}

inline int int4_code(const uint8_t* row, int64_t k) { return (row[k / 2] >> (k % 2 * 4) & 15) - kInt4Offset; }

// One code of int8 or int4.
inline int code_at(const Tensor& codes, int64_t n, int64_t k) {
  const uint8_t* row = row_of_codes(codes, n);
  return codes.dtype == DType::kI8 ? int8_t(row[k]) : int4_code(row, k);
}

// Calls f with a null pointer of the tensor's element type: float, F16 or Bf16.
template <class F>
decltype(auto) visit_scale(const Tensor& scale, F&& f) {
  if (scale.dtype == DType::kF16) return f(static_cast<F16*>(nullptr));
  return scale.dtype == DType::kBF16 ? f(static_cast<Bf16*>(nullptr)) : f(static_cast<float*>(nullptr));
}

// Of codes of rank 2 and one of the three types, and their scales. `codes_name`: as the operator calls them.
inline void check_quantised(ArgCheck& c, const char* codes_name, const Tensor& codes, const Tensor& scale) {
  c.rank(codes_name, codes, 2, 2).dtype(codes_name, codes, {DType::kI8, DType::kI32, DType::kF8E4M3});
  c.inner_contiguous(codes_name, codes).rank("scale", scale, 2, 2).inner_contiguous("scale", scale);
  if (!c.status().ok()) return;
  const int64_t n = codes.shape[0], k = quantised_depth(codes);
  const auto refuse = [&](const std::string& what) { c.that(false, what.c_str()); };
  if (k == 0) return refuse(std::string(codes_name) + " has no weights in a row");
  if (code_type(codes) == CodeType::kFp8) {
    c.dtype("scale", scale, {DType::kF32, DType::kBF16}).shape("scale", scale, {ceil_div(n, kFp8Block), ceil_div(k, kFp8Block)});
    return;
  }
  c.dtype("scale", scale, {DType::kF32, DType::kF16, DType::kBF16});
  if (k % kQuantGroup != 0)
    return refuse(std::string(codes_name) + " has " + std::to_string(k) + " weights a row, wanted a multiple of 32");
  const int64_t groups = scale.shape[1];
  if (scale.shape[0] != n || groups == 0 || k % groups != 0 || k / groups % kQuantGroup != 0)
    refuse("scale has shape " + scale.shape_string() + ", wanted [" + std::to_string(n) + ", 1] or [" + std::to_string(n) + ", " +
           std::to_string(k) + " / G] with G a multiple of 32");
}

}  // namespace sluice
