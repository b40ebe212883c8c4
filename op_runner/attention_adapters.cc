// Full and multi-head latent attention over a cache, and merging what attention over parts of the keys gives.
#include <cstring>

#include "op_runner/op_runner.h"
#include "ops/gqa_decode/gqa_decode.h"
#include "ops/gqa_prefill/gqa_prefill.h"
#include "ops/kv_append/kv_append.h"
#include "ops/merge_state/merge_state.h"
#include "ops/mla_decode/mla_decode.h"

namespace sluice {
namespace {

// Caches hold what the arithmetic asks for: bf16 as stored, or widened to f32.
DType cache_dtype(const OpCall& call, const Tensor& k) { return call.dtype() == DType::kF32 ? DType::kF32 : k.dtype; }

// Contiguous keys and values of N sequences, put into pages by kv_append.
struct Pages {
  Tensor k, v, table;
};

Status fill_pages(OpCall& call, const Tensor& k, const Tensor& v, const Tensor& cu, Pages& pages) {
  constexpr int64_t kPage = 16;  // tokens; small, so that sequences span several
  const int64_t N = cu.dim(0) - 1;
  const int32_t* at = cu.as<int32_t>();
  int64_t most = 1, total = 0;
  for (int64_t i = 0; i < N; ++i) most = std::max<int64_t>(most, (at[i + 1] - at[i] + kPage - 1) / kPage);
  pages.table = call.make(DType::kI32, {N, most});
  for (int64_t i = 0; i < N * most; ++i) pages.table.as<int32_t>()[i] = int32_t(total++);
  pages.k = call.make(cache_dtype(call, k), {total, kPage, k.dim(1), k.dim(2)});
  pages.v = call.make(cache_dtype(call, v), {total, kPage, v.dim(1), v.dim(2)});
  return call.run(kv_append, {.k = k,
                              .v = v,
                              .cu_seqlens = cu,
                              .start = call.ints(std::vector<int32_t>(N, 0)),
                              .block_table = pages.table,
                              .k_cache = pages.k,
                              .v_cache = pages.v});
}

Status run_gqa_prefill(OpCall& call) {
  SLUICE_NEED(q, "q");
  SLUICE_NEED(k, "k");
  SLUICE_NEED(v, "v");
  SLUICE_NEED(cu_q, "cu_seqlens_q");
  SLUICE_NEED(cu_k, "cu_seqlens_k");
  const Tensor gate = call.find("gate");
  Pages pages;
  SLUICE_RETURN_IF_ERROR(fill_pages(call, k, v, cu_k, pages));
  std::vector<int32_t> lens;
  for (int64_t i = 0; i + 1 < cu_k.dim(0); ++i) lens.push_back(cu_k.as<int32_t>()[i + 1] - cu_k.as<int32_t>()[i]);
  const int64_t T = q.dim(0), HQ = q.dim(1), D = q.dim(2);
  GqaPrefillArgs a{{.q = q,
                    .k_cache = pages.k,
                    .v_cache = pages.v,
                    .block_table = pages.table,
                    .seq_lens = call.ints(lens),
                    .cu_seqlens = cu_q,
                    .o = call.output("o", call.dtype(), {T, HQ, D}),
                    .lse = call.output("lse", DType::kF32, {T, HQ}),
                    .scale = call.scale_for(D)}};
  SLUICE_RETURN_IF_ERROR(call.run(gqa_prefill, a));
  if (!gate.present()) return {};
  a.gate = gate, a.lse = Tensor(), a.o = call.output("o_gated", call.dtype(), {T, HQ, D});
  return call.run(gqa_prefill, a);
}

Status run_gqa_decode(OpCall& call) {
  SLUICE_NEED(q, "q");
  SLUICE_NEED(k_cache, "k_cache");
  SLUICE_NEED(v_cache, "v_cache");
  SLUICE_NEED(table, "block_table");
  SLUICE_NEED(lens, "seq_lens");
  const int64_t B = q.dim(0), HQ = q.dim(1), D = q.dim(2);
  return call.run(gqa_decode, {{.q = q,
                                .k_cache = call.copy(k_cache, cache_dtype(call, k_cache)),
                                .v_cache = call.copy(v_cache, cache_dtype(call, v_cache)),
                                .block_table = table,
                                .seq_lens = lens,
                                .o = call.output("o", call.dtype(), {B, HQ, D}),
                                .lse = call.output("lse", DType::kF32, {B, HQ}),
                                .scale = call.scale_for(D)}});
}

Status run_merge(OpCall& call) {
  SLUICE_NEED(v_a, "v_a");
  SLUICE_NEED(lse_a, "lse_a");
  SLUICE_NEED(v_b, "v_b");
  SLUICE_NEED(lse_b, "lse_b");
  const LseBase base = call.text("base", "e") == "2" ? LseBase::kTwo : LseBase::kE;
  const int64_t T = v_a.dim(0), H = v_a.dim(1), D = v_a.dim(2);
  const Tensor v = call.output("v", call.dtype(), {T, H, D}), lse = call.output("lse", DType::kF32, {T, H});
  return call.run(merge_state, {.a = {v_a, lse_a, base}, .b = {v_b, lse_b, base}, .out = {v, lse, base}});
}

// Latent attention as its parts come: q_absorbed = q_nope W_UK, attention over latents, o = W_UV o_latent.
Status run_absorbed(OpCall& call) {
  SLUICE_NEED(q, "q");
  SLUICE_NEED(latent, "latent");
  SLUICE_NEED(k_pe, "k_pe");
  SLUICE_NEED(kv_b_proj, "kv_b_proj");
  const int64_t H = q.dim(0), S = latent.dim(0), R = latent.dim(1), P = k_pe.dim(1), nope = q.dim(1) - P;
  const int64_t V = kv_b_proj.dim(1) - nope;
  const Tensor queries = call.copy(q, DType::kF32).reshape({1, H, nope + P}), w = call.copy(kv_b_proj, DType::kF32);
  const auto weight = [&](int64_t h, int64_t row) { return w.as<float>() + (h * (nope + V) + row) * R; };
  const Tensor q_absorbed = call.make(DType::kF32, {1, H, R}), o_latent = call.make(DType::kF32, {1, H, R});
  for (int64_t h = 0; h < H; ++h)
    for (int64_t r = 0; r < R; ++r) {
      double sum = 0;
      for (int64_t d = 0; d < nope; ++d) sum += double(queries.as<float>()[h * (nope + P) + d]) * weight(h, d)[r];
      q_absorbed.as<float>()[h * R + r] = float(sum);
    }
  const Tensor kv = call.make(DType::kF32, {1, S, R + P}), latent32 = call.copy(latent, DType::kF32),
               k_pe32 = call.copy(k_pe, DType::kF32);
  for (int64_t s = 0; s < S; ++s) {
    std::copy_n(latent32.as<float>() + s * R, R, kv.as<float>() + s * (R + P));
    std::copy_n(k_pe32.as<float>() + s * P, P, kv.as<float>() + s * (R + P) + R);
  }
  SLUICE_RETURN_IF_ERROR(call.run(mla_decode, {.q_nope = q_absorbed,
                                               .q_pe = queries.slice(2, nope, nope + P),
                                               .kv = call.copy(kv, cache_dtype(call, latent)),
                                               .block_table = call.ints({0}).reshape({1, 1}),
                                               .seq_lens = call.ints({int32_t(S)}),
                                               .o = o_latent,
                                               .lse = call.output("lse", DType::kF32, {H}).reshape({1, H}),
                                               .scale = call.scale_for(nope + P)}));
  const Tensor o = call.make(DType::kF32, {H, V});
  for (int64_t h = 0; h < H; ++h)
    for (int64_t v = 0; v < V; ++v) {
      double sum = 0;
      for (int64_t r = 0; r < R; ++r) sum += double(o_latent.as<float>()[h * R + r]) * weight(h, nope + v)[r];
      o.as<float>()[h * V + v] = float(sum);
    }
  call.output("o", call.copy(o, call.dtype()));
  call.output("q_absorbed", call.copy(q_absorbed.reshape({H, R}), call.dtype()));
  return {};
}

Status run_mla_decode(OpCall& call) {
  if (call.find("kv_b_proj").present()) return run_absorbed(call);
  SLUICE_NEED(q_nope, "q_nope");
  SLUICE_NEED(q_pe, "q_pe");
  SLUICE_NEED(kv_cache, "kv_cache");
  SLUICE_NEED(table, "block_table");
  SLUICE_NEED(lens, "seq_lens");
  const int64_t T = q_nope.dim(0), H = q_nope.dim(1), R = q_nope.dim(2);
  return call.run(mla_decode, {.q_nope = call.operand(q_nope),
                               .q_pe = call.operand(q_pe),
                               .kv = call.copy(kv_cache, cache_dtype(call, kv_cache)),
                               .block_table = table,
                               .seq_lens = lens,
                               .o = call.output("o", call.dtype(), {T, H, R}),
                               .lse = call.output("lse", DType::kF32, {T, H}),
                               .scale = call.scale_for(R + q_pe.dim(2))});
}

Status run_sparse_mla(OpCall& call) {
  SLUICE_NEED(q_nope, "q_nope");
  SLUICE_NEED(q_pe, "q_pe");
  SLUICE_NEED(kv, "kv");
  SLUICE_NEED(topk_ids, "topk_ids");
  const int64_t T = q_nope.dim(0), H = q_nope.dim(1), R = q_nope.dim(2);
  return call.run(mla_decode, {.q_nope = call.operand(q_nope),
                               .q_pe = call.operand(q_pe),
                               .kv = call.copy(kv, cache_dtype(call, kv)).reshape({kv.dim(0), 1, kv.dim(1)}),
                               .indices = topk_ids,
                               .o = call.output("o", call.dtype(), {T, H, R}),
                               .lse = call.output("lse", DType::kF32, {T, H}),
                               .scale = call.scale_for(R + q_pe.dim(2))});
}

}  // namespace

std::vector<OpAdapter> attention_adapters() {
  return {
      {"gqa_prefill", "gqa_prefill", run_gqa_prefill, {"kv_append"}},
      {"gqa_decode", "gqa_decode", run_gqa_decode, {}},
      {"merge_state", "merge_state", run_merge, {}},
      {"mla_decode", "mla_decode", run_mla_decode, {}},
      {"dsa_sparse_mla", "mla_decode", run_sparse_mla, {}},
  };
}

}  // namespace sluice
