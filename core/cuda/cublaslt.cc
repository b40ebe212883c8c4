#if SLUICE_HAS_CUBLASLT
#include "core/cuda/cublaslt.h"

#include "base/library.h"
#include "core/cuda/launch.h"
#include "core/cuda/status.h"

namespace sluice::cuda {
namespace {

#define SLUICE_TEXT_(x) #x
#define SLUICE_TEXT(x) SLUICE_TEXT_(x)
// The version of the headers first. What is used of it has been the same since 11.
constexpr const char* kNames[] = {"libcublasLt.so." SLUICE_TEXT(CUBLAS_VER_MAJOR), "libcublasLt.so.13", "libcublasLt.so.12",
                                  "/usr/local/cuda/lib64/libcublasLt.so"};

// Loading a library's kernels and making its handle are not to be recorded where a graph is.
class OutsideOfCapture {
 public:
  OutsideOfCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~OutsideOfCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  OutsideOfCapture(const OutsideOfCapture&) = delete;
  OutsideOfCapture& operator=(const OutsideOfCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

Result<CublasLt> load() {
  SLUICE_ASSIGN_OR_RETURN(Library library, Library::open(kNames, "libcublasLt.so.13 or .12", "cuBLAS"));
  CublasLt f{};
  library.find("cublasLtCreate", f.create)
      .find("cublasLtDestroy", f.destroy)
      .find("cublasLtGetStatusString", f.text_of)
      .find("cublasLtMatmulDescCreate", f.create_product)
      .find("cublasLtMatmulDescDestroy", f.destroy_product)
      .find("cublasLtMatmulDescSetAttribute", f.set_of_product)
      .find("cublasLtMatrixLayoutCreate", f.create_layout)
      .find("cublasLtMatrixLayoutDestroy", f.destroy_layout)
      .find("cublasLtMatmulPreferenceCreate", f.create_preference)
      .find("cublasLtMatmulPreferenceDestroy", f.destroy_preference)
      .find("cublasLtMatmulPreferenceSetAttribute", f.set_of_preference)
      .find("cublasLtMatmulAlgoGetHeuristic", f.find_algorithms)
      .find("cublasLtMatmul", f.multiply);
  SLUICE_RETURN_IF_ERROR(library.complete("libcublasLt"));
  return f;
}

Status to_status(cublasStatus_t s, const char* what) {
  if (s == CUBLAS_STATUS_SUCCESS) return {};
  const bool lost = s == CUBLAS_STATUS_EXECUTION_FAILED || s == CUBLAS_STATUS_MAPPING_ERROR || s == CUBLAS_STATUS_INTERNAL_ERROR;
  const Code code = lost ? Code::kDevice : s == CUBLAS_STATUS_ALLOC_FAILED ? Code::kResourceExhausted : Code::kUnsupported;
  return {code, std::string(what) + ": " + cublaslt().value().text_of(s)};
}

// Something that the library made.
template <class T>
struct Owned {
  T handle = nullptr;
  cublasStatus_t (*destroy)(T) = nullptr;
  Owned() = default;
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  ~Owned() {
    if (handle) destroy(handle);
  }
};

Status make_layout(const CublasLt& lt, cudaDataType_t type, int64_t rows, int64_t length, int64_t row,
                   Owned<cublasLtMatrixLayout_t>& to) {
  to.destroy = lt.destroy_layout;
  const int64_t pitch = rows > 1 ? row : length;
  return to_status(lt.create_layout(&to.handle, type, uint64_t(length), uint64_t(rows), pitch), "a matrix of cuBLASLt");
}

}  // namespace

const Result<CublasLt>& cublaslt() {
  static const Result<CublasLt> loaded = load();
  return loaded;
}

// The library's matrices have their columns together: ours are its transposes, and y^T = w x^T.
struct LtPlans::Plan {
  Owned<cublasLtMatmulDesc_t> product;
  Owned<cublasLtMatrixLayout_t> w, x, y;
  cublasLtMatmulAlgo_t algorithm{};
  bool found = false;

  Status describe(const CublasLt& lt, const LtShape& s) {
    const auto compute = s.operands == CUDA_R_32F ? CUBLAS_COMPUTE_32F_PEDANTIC : CUBLAS_COMPUTE_32F;
    const cublasOperation_t turned = CUBLAS_OP_T;
    product.destroy = lt.destroy_product;
    SLUICE_RETURN_IF_ERROR(to_status(lt.create_product(&product.handle, compute, CUDA_R_32F), "a product of cuBLASLt"));
    SLUICE_RETURN_IF_ERROR(
        to_status(lt.set_of_product(product.handle, CUBLASLT_MATMUL_DESC_TRANSA, &turned, sizeof turned), "a product of cuBLASLt"));
    SLUICE_RETURN_IF_ERROR(make_layout(lt, s.operands, s.columns, s.depth, s.w_row, w));
    SLUICE_RETURN_IF_ERROR(make_layout(lt, s.operands, s.rows, s.depth, s.x_row, x));
    return make_layout(lt, s.y, s.rows, s.columns, s.y_row, y);
  }

  Status choose(const CublasLt& lt, cublasLtHandle_t library, const LtShape& s) {
    Owned<cublasLtMatmulPreference_t> preference;
    preference.destroy = lt.destroy_preference;
    SLUICE_RETURN_IF_ERROR(to_status(lt.create_preference(&preference.handle), "a wish to cuBLASLt"));
    const auto wish = [&](cublasLtMatmulPreferenceAttributes_t what, const auto& value) {
      return to_status(lt.set_of_preference(preference.handle, what, &value, sizeof value), "a wish to cuBLASLt");
    };
    // Parts of K are added in fp32 and in order, never as y has them.
    SLUICE_RETURN_IF_ERROR(wish(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE)));
    SLUICE_RETURN_IF_ERROR(wish(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t(kWorkspace)));
    SLUICE_RETURN_IF_ERROR(wish(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, uint32_t(s.w_align)));
    SLUICE_RETURN_IF_ERROR(wish(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, uint32_t(s.x_align)));
    SLUICE_RETURN_IF_ERROR(wish(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, uint32_t(s.y_align)));
    SLUICE_RETURN_IF_ERROR(wish(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, uint32_t(s.y_align)));
    cublasLtMatmulHeuristicResult_t answer{};
    int count = 0;
    const cublasStatus_t asked =
        lt.find_algorithms(library, product.handle, w.handle, x.handle, y.handle, y.handle, preference.handle, 1, &answer, &count);
    if (asked == CUBLAS_STATUS_NOT_SUPPORTED || asked == CUBLAS_STATUS_INVALID_VALUE) return {};
    SLUICE_RETURN_IF_ERROR(to_status(asked, "cuBLASLt's choice"));
    found = count > 0 && answer.state == CUBLAS_STATUS_SUCCESS;
    algorithm = answer.algo;
    return {};
  }
};

LtPlans::LtPlans() = default;
LtPlans::~LtPlans() {
  plans_.clear();
  if (handle_) cublaslt().value().destroy(handle_);
}

Result<LtPlans::Plan*> LtPlans::find(const LtShape& shape) {
  constexpr size_t kMost = 4096;  // prompts have many lengths
  if (const auto it = plans_.find(shape); it != plans_.end()) return it->second.get();
  if (!cublaslt().ok()) return cublaslt().status();
  const OutsideOfCapture outside;
  const CublasLt& lt = cublaslt().value();
  if (!handle_) SLUICE_RETURN_IF_ERROR(to_status(lt.create(&handle_), "cuBLASLt"));
  auto plan = std::make_unique<Plan>();
  SLUICE_RETURN_IF_ERROR(plan->describe(lt, shape));
  SLUICE_RETURN_IF_ERROR(plan->choose(lt, handle_, shape));
  if (plans_.size() >= kMost) plans_.clear();
  return plans_.emplace(shape, std::move(plan)).first->second.get();
}

Result<bool> LtPlans::serves(const LtShape& shape) {
  SLUICE_ASSIGN_OR_RETURN(const Plan* plan, find(shape));
  return plan->found;
}

Status LtPlans::multiply(const Context& ctx, const LtShape& shape, const void* x, const void* w, void* y, bool add,
                         void* workspace) {
  SLUICE_ASSIGN_OR_RETURN(const Plan* p, find(shape));
  const float one = 1, of_y = add ? 1 : 0;
  return to_status(cublaslt().value().multiply(handle_, p->product.handle, &one, w, p->w.handle, x, p->x.handle, &of_y, y,
                                               p->y.handle, y, p->y.handle, &p->algorithm, workspace, kWorkspace, stream_of(ctx)),
                   "a product of cuBLASLt");
}

}  // namespace sluice::cuda
#endif
