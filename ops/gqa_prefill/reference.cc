#include <cmath>
#include <limits>
#include <vector>

#include "core/rows.h"
#include "ops/gqa_prefill/forms.h"

namespace sluice {
namespace {

// One row and query head: every key up to `position`, in two passes. A position of -1 is padding.
template <class Q, class X, class O>
void attend(const GqaArgs& a, int64_t b, int64_t row, int64_t head, int64_t position) {
  const int64_t dim = a.q.dim(2), page_size = a.k_cache.dim(1), kv_head = head / (a.q.dim(1) / a.k_cache.dim(2));
  const auto cached = [&](const Tensor& c, int64_t j) {
    const int64_t page = a.block_table.as<int32_t>()[b * a.block_table.stride[0] + j / page_size];
    return c.as<X>() + page * c.stride[0] + j % page_size * c.stride[1] + kv_head * c.stride[2];
  };
  const Q* q = a.q.as<Q>() + row * a.q.stride[0] + head * a.q.stride[1];
  double top = -std::numeric_limits<double>::infinity(), sum = 0;
  std::vector<double> score(position + 1), out(dim);
  for (int64_t j = a.first_key; j <= position; ++j) {
    for (int64_t d = 0; d < dim; ++d) score[j] += double(float(X(float(q[d])))) * float(cached(a.k_cache, j)[d]);
    score[j] *= a.scale;
    top = std::max(top, score[j]);
  }
  for (int64_t j = a.first_key; j <= position; ++j) {
    const double weight = std::exp(score[j] - top);
    sum += weight;
    for (int64_t d = 0; d < dim; ++d) out[d] += weight * float(cached(a.v_cache, j)[d]);
  }
  O* o = a.o.as<O>() + row * a.o.stride[0] + head * a.o.stride[1];
  for (int64_t d = 0; d < dim; ++d) {
    double y = position < 0 ? 0 : out[d] / sum;
    if (a.gate.present())
      visit_float(a.gate, [&]<class G>(G*) {
        y /= 1 + std::exp(-double(float(a.gate.as<G>()[row * a.gate.stride[0] + head * a.gate.stride[1] + d])));
      });
    o[d] = O(float(y));
  }
  if (a.lse.present()) a.lse.as<float>()[row * a.lse.stride[0] + head * a.lse.stride[1]] = float(top + std::log(sum));
}

}  // namespace

Status gqa_reference(Context&, const GqaArgs& a, std::byte*) {
  for (int64_t b = 0; b < a.seq_lens.dim(0); ++b) {
    const int32_t* cu = a.cu_seqlens.present() ? a.cu_seqlens.as<int32_t>() : nullptr;
    const int64_t begin = cu ? cu[b] : b, end = cu ? cu[b + 1] : b + 1, length = a.seq_lens.as<int32_t>()[b];
    for (int64_t row = begin; row < end; ++row)
      for (int64_t head = 0; head < a.q.dim(1); ++head)
        visit_float(a.q, [&]<class Q>(Q*) {
          visit_float(a.k_cache, [&]<class X>(X*) {
            visit_float(a.o, [&]<class O>(O*) { attend<Q, X, O>(a, b, row, head, length == 0 ? -1 : length - (end - row)); });
          });
        });
  }
  return {};
}

}  // namespace sluice
