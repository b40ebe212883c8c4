#if SLUICE_HAS_CUDA

// Kernels one behind the other, as a decode step launches them: what programmatic dependent launch is for. `--launches` gives the
// times without it beside those with it.
//
//   edges                small kernels of one kind, each reading what the one before it wrote
//   deepseek_v3_2, glm_5 the small kernels of a decode layer, without attention and the large products, in the order of the model:
//                        (norm, fused_a_gemm, two norms, rope, store, indexer, top-k, norm, router, gate, align, quantise,
//                        quantise)

#include <functional>

#include "ops/fused_a_gemm/fused_a_gemm.h"
#include "ops/group_quant/group_quant.h"
#include "ops/index_topk/index_topk.h"
#include "ops/indexer_prepare/indexer_prepare.h"
#include "ops/mla_kv_store/mla_kv_store.h"
#include "ops/moe_align/moe_align.h"
#include "ops/moe_gate/moe_gate.h"
#include "ops/rmsnorm/rmsnorm.h"
#include "ops/rope/rope.h"
#include "ops/router_gemm/router_gemm.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

using Step = std::function<Status(Context&)>;

class Chain : public AnyCall {
 public:
  explicit Chain(std::vector<Step> steps) : steps_(std::move(steps)) {}
  Status check() const override { return {}; }
  Can can(size_t, const Context& ctx) const override { return ctx.gpu ? Can{} : Can::no("it runs on a GPU"); }
  size_t workspace(size_t, const Context&) const override { return 0; }
  Status run(size_t, Context& ctx) const override {
    for (const Step& step : steps_) SLUICE_RETURN_IF_ERROR(step(ctx));
    return {};
  }
  Result<std::vector<cuda::TileTime>> time_tiles(size_t, const std::string&, const Context&) const override {
    return Status(Code::kUnsupported, "a chain has no tiles");
  }

 private:
  std::vector<Step> steps_;
};

void add(const std::string& label, std::function<std::vector<Step>(Inputs&)> steps) {
  cases().push_back({.name = {"chain", label, Where::kGpu},
                     .forms = {{"graph", Isa::kCuda, true, false}},
                     .make = [=](Inputs& in) -> std::unique_ptr<AnyCall> { return std::make_unique<Chain>(steps(in)); }});
}

// `count` norms of 16 rows, each of the one before it; with a router's product, whose weights are cold, behind half of them.
std::vector<Step> edges(Inputs& in, int count, bool router) {
  constexpr int64_t kTokens = 16, kHidden = 7168, kExperts = 256;
  std::vector<Step> steps;
  Tensor x = in.normal(DType::kBF16, {kTokens, kHidden});
  const Tensor weight = in.normal(DType::kBF16, {kHidden}), w = in.normal(DType::kBF16, {kExperts, kHidden});
  for (int i = 0; i < count; ++i) {
    const Tensor y = in.output(DType::kBF16, {kTokens, kHidden});
    steps.emplace_back([=](Context& ctx) { return rmsnorm(ctx, {.x = x, .weight = weight, .y = y}); });
    x = y;
    if (!router || i + 1 != count / 2) continue;
    const Tensor logits = in.output(DType::kF32, {kTokens, kExperts});
    steps.emplace_back([=](Context& ctx) { return router_gemm(ctx, {.x = y, .w = w, .logits = logits}); });
  }
  return steps;
}

struct Layer {
  const char* name;
  int64_t hidden, q_lora, heads, index_heads, n_group, topk_group;
  RopeStyle index_rope;
};
constexpr Layer kLayers[] = {{"deepseek_v3_2", 7168, 1536, 128, 64, 8, 4, RopeStyle::kHalfSplit},
                             {"glm_5", 6144, 2048, 64, 32, 1, 1, RopeStyle::kInterleaved}};
constexpr int64_t kLatent = 512, kRope = 64, kIndexDim = 128, kIndexPage = 64, kIndexRow = 132, kChosenKeys = 2048, kContext = 4096;
constexpr int64_t kExperts = 256, kTopK = 8, kBlock = 64, kExpertDim = 2048, kGroup = 128;

QuantisedGroups quantised(Inputs& in, int64_t rows, int64_t columns) {
  return {.q = in.output(DType::kF8E4M3, {rows, columns}), .scale = in.output(DType::kF32, {rows, columns / kGroup})};
}

// From the layer's input to the indices of the keys that attention reads.
void add_attention(std::vector<Step>& steps, Inputs& in, const Layer& l, int64_t T) {
  const auto bf16 = [&](std::initializer_list<int64_t> shape) { return in.normal(DType::kBF16, shape); };
  const Tensor x = bf16({T, l.hidden}), residual = bf16({T, l.hidden}), norm = bf16({l.hidden});
  const Tensor y = in.output(DType::kBF16, {T, l.hidden});
  steps.emplace_back(
      [=](Context& ctx) { return rmsnorm(ctx, {.x = x, .residual = residual, .weight = norm, .y = y, .residual_out = residual}); });
  const int64_t rows = l.q_lora + kLatent + kRope;
  const Tensor w_a = bf16({rows, l.hidden}), a = in.output(DType::kBF16, {T, rows});
  steps.emplace_back([=](Context& ctx) { return fused_a_gemm(ctx, {.x = y, .w = w_a, .y = a}); });
  const Tensor q_norm = bf16({l.q_lora}), kv_norm = bf16({kLatent});
  const Tensor q_a = a.slice(1, 0, l.q_lora), latent = a.slice(1, l.q_lora, l.q_lora + kLatent);
  steps.emplace_back([=](Context& ctx) { return rmsnorm(ctx, {.x = q_a, .weight = q_norm, .y = q_a}); });
  steps.emplace_back([=](Context& ctx) { return rmsnorm(ctx, {.x = latent, .weight = kv_norm, .y = latent}); });
  const Tensor q_pe = bf16({T, l.heads, kRope}), k_pe = a.slice(1, l.q_lora + kLatent, rows).split_last(1, kRope);
  const Tensor positions = in.count(T), slots = in.count(T);
  const Tensor inv_freq = in.of(rope_frequencies(1e4, kRope));
  steps.emplace_back([=](Context& ctx) {
    return rope(ctx, {.q = q_pe,
                      .k = k_pe,
                      .positions = positions,
                      .inv_freq = inv_freq,
                      .q_out = q_pe,
                      .k_out = k_pe,
                      .style = RopeStyle::kInterleaved});
  });
  const MlaCache cache{.rows = in.output(DType::kBF16, {T, kLatent + kRope})};
  const Tensor k_rope = a.slice(1, l.q_lora + kLatent, rows);
  steps.emplace_back(
      [=](Context& ctx) { return mla_kv_store(ctx, {.latent = latent, .rope = k_rope, .loc = slots, .cache = cache}); });

  IndexerPrepareArgs index{.positions = positions, .cos_sin = in.normal(DType::kF32, {T, kRope}), .style = l.index_rope};
  index.q = {.x = bf16({T, l.index_heads, kIndexDim}),
             .weights = in.normal(DType::kF32, {T, l.index_heads}),
             .out = in.output(DType::kF8E4M3, {T, l.index_heads, kIndexDim}),
             .scale = in.output(DType::kF32, {T, l.index_heads}),
             .gate = in.output(DType::kF32, {T, l.index_heads})};
  index.k = {.x = bf16({T, kIndexDim}),
             .norm_weight = in.normal(DType::kF32, {kIndexDim}),
             .norm_bias = in.normal(DType::kF32, {kIndexDim}),
             .cache = in.output(DType::kU8, {T / kIndexPage + 1, kIndexPage * kIndexRow}),
             .loc = slots};
  steps.emplace_back([=](Context& ctx) { return indexer_prepare(ctx, index); });
  const Tensor scores = in.normal(DType::kF32, {T, kContext}), chosen = in.output(DType::kI32, {T, kChosenKeys});
  steps.emplace_back([=](Context& ctx) { return index_topk(ctx, {.scores = scores, .out = chosen}); });
}

// From attention's output to the experts' inputs.
void add_routing(std::vector<Step>& steps, Inputs& in, const Layer& l, int64_t T) {
  const Tensor x = in.normal(DType::kBF16, {T, l.hidden}), residual = in.normal(DType::kBF16, {T, l.hidden});
  const Tensor norm = in.normal(DType::kBF16, {l.hidden}), y = in.output(DType::kBF16, {T, l.hidden});
  steps.emplace_back(
      [=](Context& ctx) { return rmsnorm(ctx, {.x = x, .residual = residual, .weight = norm, .y = y, .residual_out = residual}); });
  const Tensor w = in.normal(DType::kBF16, {kExperts, l.hidden}), logits = in.output(DType::kF32, {T, kExperts});
  steps.emplace_back([=](Context& ctx) { return router_gemm(ctx, {.x = y, .w = w, .logits = logits}); });
  const MoeGateArgs gate{.logits = logits,
                         .bias = in.normal(DType::kF32, {kExperts}),
                         .topk_weights = in.output(DType::kF32, {T, kTopK}),
                         .topk_ids = in.output(DType::kI32, {T, kTopK}),
                         .top_k = kTopK,
                         .n_group = l.n_group,
                         .topk_group = l.topk_group,
                         .routed_scaling = 2.5f};
  steps.emplace_back([=](Context& ctx) { return moe_gate(ctx, gate); });
  const MoeAlignArgs align{.topk_ids = gate.topk_ids,
                           .sorted_token_ids = in.output(DType::kI32, {moe_align_capacity(T * kTopK, kExperts, kBlock)}),
                           .expert_ids = in.output(DType::kI32, {moe_align_blocks(T * kTopK, kExperts, kBlock)}),
                           .num_tokens_post_pad = in.output(DType::kI32, {1}),
                           .experts = kExperts,
                           .block = kBlock};
  steps.emplace_back([=](Context& ctx) { return moe_align(ctx, align); });
  const QuantisedGroups into = quantised(in, T, l.hidden), out_of = quantised(in, T * kTopK, kExpertDim);
  steps.emplace_back([=](Context& ctx) { return group_quant(ctx, {.x = y, .out = into}); });
  const Tensor up = in.normal(DType::kBF16, {T * kTopK, 2 * kExpertDim});
  steps.emplace_back([=](Context& ctx) { return group_quant(ctx, {.x = up, .out = out_of, .silu_mul = true}); });
}

const bool registered = [] {
  add("edges/8 norms", [](Inputs& in) { return edges(in, 8, false); });
  add("edges/16 norms", [](Inputs& in) { return edges(in, 16, false); });
  add("edges/8 norms and a router", [](Inputs& in) { return edges(in, 8, true); });
  for (const Layer& l : kLayers)
    for (const int64_t T : {1, 8, 16, 64})
      add(std::string(l.name) + "/" + std::to_string(T) + " tokens", [=](Inputs& in) {
        std::vector<Step> steps;
        add_attention(steps, in, l, T);
        add_routing(steps, in, l, T);
        return steps;
      });
  return true;
}();

}  // namespace
}  // namespace sluice::benching

#endif
