// cuBLASLt's products: bf16 operands with fp32 sums, or fp32 throughout.
#if SLUICE_HAS_CUBLASLT
#include "core/cuda/cublaslt.h"

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "ops/matmul/forms.h"

namespace sluice {
namespace {

cudaDataType_t type_of(const Tensor& t) { return t.dtype == DType::kBF16 ? CUDA_R_16BF : CUDA_R_32F; }

int alignment_of(const Tensor& t) {
  constexpr uintptr_t kMost = 16;
  const auto address = reinterpret_cast<uintptr_t>(t.data) | kMost;
  return int(address & -address);
}

// Of a single row the stride does not matter.
int64_t pitch(const Tensor& t) { return t.shape[0] > 1 ? t.stride[0] : t.shape[1]; }

// The tensor cores cut a sum of fp32 off as they add to it, always towards zero: as measured, 1.05e-6 of a typical output for each
// 1024 of K. So that an fp32 y stays within the contract's 2e-6 * sqrt(K / 1024 + 1), with a tenth to spare, K is cut into pieces,
// each a product that is added to y. A bf16 y's own rounding is a thousand times that, and fp32 products are not those of tensor
// cores.
int64_t piece_of_depth(const MatmulArgs& a) {
  constexpr int64_t kMultiple = 64;
  const int64_t depth = a.x.shape[1];
  if (a.x.dtype == DType::kF32 || a.y.dtype == DType::kBF16) return depth;
  const double most = 1024 * 0.9 * 2e-6 / 1.05e-6 * std::sqrt(double(depth) / 1024 + 1);
  const int64_t pieces = int64_t(std::ceil(double(depth) / most));
  return std::min(depth, round_up(ceil_div(depth, pieces), kMultiple));
}

cuda::LtShape shape_of(const MatmulArgs& a, int64_t depth) {
  return {.rows = a.x.shape[0],
          .columns = a.w.shape[0],
          .depth = depth,
          .x_row = pitch(a.x),
          .w_row = pitch(a.w),
          .y_row = pitch(a.y),
          .operands = type_of(a.x),
          .y = type_of(a.y),
          .x_align = alignment_of(a.x),
          .w_align = alignment_of(a.w),
          .y_align = alignment_of(a.y)};
}

}  // namespace

Can matmul_cublaslt_can(const MatmulArgs& a) {
  if (a.x.dtype != a.w.dtype) return Can::no("x and w are of different types");
  if (a.x.dtype == DType::kF32 && a.y.dtype != DType::kF32) return Can::no("of F32 operands y is F32 only");
  if (a.y.numel() == 0 || a.x.shape[1] == 0) return Can::no("there is nothing to multiply");
  for (const Tensor* t : {&a.x, &a.w, &a.y}) {
    if (pitch(*t) < t->shape[1]) return Can::no("rows overlap");
    if (std::max(t->shape[0], t->shape[1]) > INT32_MAX) return Can::no("a side is longer than 2^31");
  }
  return cuda::cublaslt().ok() ? Can{} : Can::no("libcublasLt.so.13 or .12 could not be loaded (see LD_LIBRARY_PATH)");
}

size_t matmul_cublaslt_workspace(const Context&, const MatmulArgs&) { return cuda::LtPlans::kWorkspace; }

Status matmul_cublaslt(Context& ctx, const MatmulArgs& a, std::byte* scratch) {
  cuda::LtPlans once, &plans = ctx.lt_plans ? *ctx.lt_plans : once;
  const int64_t depth = a.x.shape[1], piece = piece_of_depth(a);
  const auto shape = [&](int64_t begin) { return shape_of(a, std::min(piece, depth - begin)); };
  bool served = true;
  for (int64_t begin = 0; begin < depth && served; begin += piece) {
    SLUICE_ASSIGN_OR_RETURN(served, plans.serves(shape(begin)));
  }
  if (!served) {  // an address or stride that the library has nothing for
    count_fallback(ctx, "matmul", ImplChoice("cublaslt"), "portable", "the library has no algorithm for it");
    return matmul_cuda(ctx, a, nullptr);
  }
  const auto at = [](const Tensor& t, int64_t element) {
    return static_cast<const std::byte*>(t.data) + element * int64_t(dtype_size(t.dtype));
  };
  for (int64_t begin = 0; begin < depth; begin += piece)
    SLUICE_RETURN_IF_ERROR(plans.multiply(ctx, shape(begin), at(a.x, begin), at(a.w, begin), a.y.data, begin > 0, scratch));
  return {};
}

}  // namespace sluice
#endif
