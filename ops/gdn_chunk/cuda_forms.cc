#include "ops/gdn_chunk/cuda_forms.h"

namespace sluice::gdn {
namespace {

bool aligned(const Tensor& t) {
  return !t.present() || (reinterpret_cast<uintptr_t>(t.data) % 16 == 0 && t.stride[0] * int64_t(dtype_size(t.dtype)) % 16 == 0);
}

}  // namespace

Can cuda_form(const GdnState& s) {
  const int64_t K = s.s.dim(2), V = s.s.dim(3);
  if (K % 16 != 0 || V % 16 != 0 || K > 256 || V > 256) return Can::no("K and V must be multiples of 16 up to 256");
  return aligned(s.s) && aligned(s.k) && aligned(s.u) ? Can{} : Can::no("the state's slots must be 16-byte aligned");
}

Can tma_form(const GdnState& s, std::initializer_list<const Tensor*> rows, int64_t B) {
  constexpr int64_t kMostLayers = 65535;  // of a grid
  if (s.s.dim(2) != 128 || s.s.dim(3) != 128) return Can::no("K and V must be 128");
  if (B > kMostLayers) return Can::no("a call may have at most 65535 sequences");
  for (const Tensor* t : rows) {
    if (t->dtype != (*rows.begin())->dtype) return Can::no("the rows it reads must have one type");
    if (t->stride[0] > INT32_MAX || (t->rank == 3 && t->stride[1] > INT32_MAX)) return Can::no("a row's stride must fit 32 bits");
  }
  return cuda_form(s);
}

}  // namespace sluice::gdn
