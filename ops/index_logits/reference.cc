#include <cmath>

#include "ops/index_logits/forms.h"
#include "ops/index_logits/keys.h"
#include "ops/index_logits/types.h"

namespace sluice {

Status index_logits_reference(Context&, const IndexLogitsArgs& args, std::byte*) {
  const IndexLogits p(args);
  const int64_t D = args.q.dim(2);
  visit_index_type(args.q.dtype, [&]<class X>(X*) {
    for (int64_t t = 0; t < p.tokens; ++t) {
      const KeyRange seen = p.seen(t);
      for (int64_t j = 0; j < p.width; ++j) {
        float& logit = p.logits[t * p.logits_row + j];
        if (j < seen.begin || j >= seen.end) {
          if (p.clean) logit = -INFINITY;
          continue;
        }
        const int32_t page = p.keys.page_of(p.sequence(t), j);
        const X* k = reinterpret_cast<const X*>(p.keys.row(page, j));
        double sum = 0;
        for (int64_t h = 0; h < p.heads; ++h) {
          const X* q = reinterpret_cast<const X*>(p.q + t * p.q_row + h * p.q_head);
          double dot = 0;
          for (int64_t d = 0; d < D; ++d) dot += double(float(q[d])) * double(float(k[d]));
          sum += (dot < 0 ? 0 : dot) * p.weights[t * p.weights_row + h];
        }
        const float* scale = p.keys.scale(page, j);
        logit = float(sum * (scale ? *scale : 1));
      }
    }
  });
  return {};
}

}  // namespace sluice
