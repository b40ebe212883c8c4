// The sparse-attention indexer.
#include <algorithm>
#include <cmath>

#include "op_runner/op_runner.h"
#include "ops/hadamard/hadamard.h"
#include "ops/index_logits/index_logits.h"
#include "ops/index_topk/index_topk.h"

namespace sluice {
namespace {

Status run_hadamard(OpCall& call) {
  SLUICE_NEED(x, "x");
  const Tensor y = x.rank == 3 ? call.output("y", call.dtype(), {x.dim(0), x.dim(1), x.dim(2)})
                               : call.output("y", call.dtype(), {x.dim(0), x.dim(1)});
  return call.run(hadamard, {.x = x, .y = y});
}

// Scores of all keys up to the query's own, and the best of them. Files hold e4m3 as bytes; without it the weights lack the factors
// that the operator wants in them.
Status run_dsa_indexer(OpCall& call) {
  SLUICE_NEED(q_in, "q");
  SLUICE_NEED(k_in, "k");
  SLUICE_NEED(w_in, "weights");
  Tensor q = call.copy(q_in), k = call.copy(k_in), weights = call.copy(w_in, DType::kF32);
  const int64_t T = q.dim(0), H = q.dim(1), S = k.dim(0);
  if (q.dtype == DType::kU8) q.dtype = k.dtype = DType::kF8E4M3;
  if (!call.flag("fp8", false))
    for (int64_t i = 0; i < T * H; ++i) weights.as<float>()[i] *= float(call.number("softmax_scale", 1) / std::sqrt(double(H)));
  std::vector<int32_t> ends;
  for (int64_t t = 0; t < T; ++t) ends.push_back(int32_t(std::min(S, t + int64_t(call.number("query_offset", 0)) + 1)));
  const Tensor end = call.ints(ends), scores = call.output("scores", DType::kF32, {T, S});
  SLUICE_RETURN_IF_ERROR(call.run(
      index_logits, {.q = q, .weights = weights, .k = k, .k_scale = call.find("k_scale"), .k_end = end, .logits = scores}));
  const Tensor ids = call.output("topk_ids", DType::kI32, {T, int64_t(call.number("top_k", 0))});
  SLUICE_RETURN_IF_ERROR(call.run(index_topk, {.scores = scores, .lengths = end, .out = ids}));
  for (int64_t t = 0; t < T; ++t)
    for (int64_t j = std::max(ends[size_t(t)], 0); j < S; ++j) scores.as<float>()[t * S + j] = 0;
  return {};
}

}  // namespace

std::vector<OpAdapter> dsa_adapters() {
  return {
      {"hadamard", "hadamard", run_hadamard, {}},
      {"dsa_indexer", "index_logits", run_dsa_indexer, {"index_topk"}},
  };
}

}  // namespace sluice
