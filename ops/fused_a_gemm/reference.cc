#include "core/rows.h"
#include "ops/fused_a_gemm/forms.h"

namespace sluice {
namespace {

// Weights of e4m3 with their scales, or of bf16 without.
template <class W>
double weight(const FusedAGemmArgs& a, int64_t n, int64_t k) {
  const double w = float(a.w.as<W>()[n * a.w.stride[0] + k]);
  if (!a.w_scale.present()) return w;
  return w * a.w_scale.as<float>()[n / kFusedABlock * a.w_scale.stride[0] + k / kFusedABlock];
}

template <class W>
void multiply(const FusedAGemmArgs& a) {
  visit_float(a.y, [&]<class Y>(Y*) {
    for (int64_t t = 0; t < a.x.shape[0]; ++t)
      for (int64_t n = 0; n < a.w.shape[0]; ++n) {
        double sum = 0;
        for (int64_t k = 0; k < a.x.shape[1]; ++k) sum += float(a.x.as<Bf16>()[t * a.x.stride[0] + k]) * weight<W>(a, n, k);
        a.y.as<Y>()[t * a.y.stride[0] + n] = Y(float(sum));
      }
  });
}

}  // namespace

Status fused_a_gemm_reference(Context&, const FusedAGemmArgs& a, std::byte*) {
  if (a.w.dtype == DType::kF8E4M3) multiply<F8E4M3>(a);
  else multiply<Bf16>(a);
  return {};
}

}  // namespace sluice
