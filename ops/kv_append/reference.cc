#include "core/rows.h"
#include "ops/kv_append/forms.h"

namespace sluice {
namespace {

template <class X, class C>
void append(const KvAppendArgs& a, const Tensor& x, const Tensor& cache) {
  const int32_t *cu = a.cu_seqlens.as<int32_t>(), *start = a.start.as<int32_t>(), *table = a.block_table.as<int32_t>();
  const int64_t page = cache.shape[1];
  for (int64_t b = 0; b < a.start.shape[0]; ++b)
    for (int64_t t = cu[b]; t < cu[b + 1]; ++t)
      for (int64_t h = 0; h < x.shape[1]; ++h)
        for (int64_t d = 0; d < x.shape[2]; ++d) {
          const int64_t p = start[b] + (t - cu[b]);
          const int64_t row = table[b * a.block_table.stride[0] + p / page] * cache.stride[0] + p % page * cache.stride[1];
          cache.as<C>()[row + h * cache.stride[2] + d] = C(float(x.as<X>()[t * x.stride[0] + h * x.stride[1] + d]));
        }
}

}  // namespace

Status kv_append_reference(Context&, const KvAppendArgs& a, std::byte*) {
  visit_float(a.k, [&]<class X>(X*) {
    visit_float(a.k_cache, [&]<class C>(C*) {
      append<X, C>(a, a.k, a.k_cache);
      append<X, C>(a, a.v, a.v_cache);
    });
  });
  return {};
}

}  // namespace sluice
