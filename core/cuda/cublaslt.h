// Matrix products by cuBLASLt, which is loaded when it is first asked for: a program runs without it.
#pragma once

#include <cublasLt.h>

#include <cstddef>
#include <map>
#include <memory>

#include "base/status.h"
#include "core/context.h"

namespace sluice::cuda {

// The functions that are called, and no others.
struct CublasLt {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtDestroy) destroy;
  decltype(&cublasLtGetStatusString) text_of;
  decltype(&cublasLtMatmulDescCreate) create_product;
  decltype(&cublasLtMatmulDescDestroy) destroy_product;
  decltype(&cublasLtMatmulDescSetAttribute) set_of_product;
  decltype(&cublasLtMatrixLayoutCreate) create_layout;
  decltype(&cublasLtMatrixLayoutDestroy) destroy_layout;
  decltype(&cublasLtMatmulPreferenceCreate) create_preference;
  decltype(&cublasLtMatmulPreferenceDestroy) destroy_preference;
  decltype(&cublasLtMatmulPreferenceSetAttribute) set_of_preference;
  decltype(&cublasLtMatmulAlgoGetHeuristic) find_algorithms;
  decltype(&cublasLtMatmul) multiply;
};

// Loaded once a process; fails where the library is not found, or is too old.
const Result<CublasLt>& cublaslt();

// y[rows, columns] = x[rows, depth] w[columns, depth]^T, all in rows. Row strides in elements, types as CUDA has them; how many
// bytes the addresses are multiples of, up to 16.
struct LtShape {
  int64_t rows, columns, depth;
  int64_t x_row, w_row, y_row;
  cudaDataType_t operands, y;  // of fp32 operands the products are those of fp32 too
  int x_align, w_align, y_align;

  auto operator<=>(const LtShape&) const = default;
};

// The library's handle and its choice for each shape so far: its own first answer, nothing is measured. Belongs to one runtime and
// one thread.
class LtPlans {
 public:
  static constexpr size_t kWorkspace = size_t(32) << 20;  // bytes, what the library's authors advise for sm_90

  LtPlans();
  ~LtPlans();
  // Whether there is an algorithm for a shape.
  Result<bool> serves(const LtShape& shape);
  // Launches the product on the context's stream; `add`: to what y holds. `workspace` has kWorkspace bytes, 256-byte aligned. The
  // shape must be served.
  Status multiply(const Context& ctx, const LtShape& shape, const void* x, const void* w, void* y, bool add, void* workspace);

 private:
  struct Plan;
  Result<Plan*> find(const LtShape& shape);

  cublasLtHandle_t handle_ = nullptr;
  std::map<LtShape, std::unique_ptr<Plan>> plans_;
};

}  // namespace sluice::cuda
