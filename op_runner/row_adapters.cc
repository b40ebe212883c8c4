// Operators that work row by row: norms, rope, gates, splits, convolution, matmul.
#include <cmath>

#include "op_runner/op_runner.h"
#include "ops/causal_conv1d/causal_conv1d.h"
#include "ops/embed/embed.h"
#include "ops/gated_rmsnorm/gated_rmsnorm.h"
#include "ops/gating/gating.h"
#include "ops/l2norm/l2norm.h"
#include "ops/matmul/matmul.h"
#include "ops/qkv_split/qkv_split.h"
#include "ops/rmsnorm/rmsnorm.h"
#include "ops/rope/rope.h"
#include "ops/silu_mul/silu_mul.h"

namespace sluice {
namespace {

std::vector<int32_t> count_up(int64_t n) {
  std::vector<int32_t> v;
  for (int64_t i = 0; i < n; ++i) v.push_back(int32_t(i));
  return v;
}

Status run_rmsnorm(OpCall& call) {
  SLUICE_NEED(x, "x");
  SLUICE_NEED(weight, "weight");
  const Tensor residual = call.find("residual");
  const int64_t T = x.dim(0), D = x.dim(1);
  RmsnormArgs a{.x = x,
                .weight = weight,
                .y = call.output("y", call.dtype(), {T, D}),
                .eps = float(call.number("eps", 1e-6)),
                .weight_offset = float(call.number("weight_offset", 0))};
  SLUICE_RETURN_IF_ERROR(call.run(rmsnorm, a));
  if (!residual.present()) return {};
  a.residual = residual;
  a.residual_out = call.output("residual_out", DType::kBF16, {T, D});
  a.y = call.output("y_add", call.dtype(), {T, D});
  SLUICE_RETURN_IF_ERROR(call.run(rmsnorm, a));
  a.y = call.output("y_add_from_bf16", call.dtype(), {T, D});
  a.norm_rounded_sum = true;
  return call.run(rmsnorm, a);
}

Status run_gated_rmsnorm(OpCall& call) {
  SLUICE_NEED(x, "x");
  SLUICE_NEED(z, "z");
  SLUICE_NEED(weight, "weight");
  return call.run(gated_rmsnorm, {.x = x,
                                  .z = z,
                                  .weight = weight,
                                  .y = call.output("y", call.dtype(), {x.dim(0), x.dim(1)}),
                                  .eps = float(call.number("eps", 1e-6)),
                                  .gate = call.text("gate", "silu") == "sigmoid" ? Gate::kSigmoid : Gate::kSilu,
                                  .norm_before_gate = call.flag("norm_before_gate", true)});
}

Status run_l2norm(OpCall& call) {
  SLUICE_NEED(buffer, "buffer");
  const int64_t heads = int64_t(call.number("heads", 1)), offset = int64_t(call.number("offset", 0));
  const int64_t dim = int64_t(call.number("head_dim", double(buffer.dim(1) / heads)));
  if (offset + heads * dim > buffer.dim(1))
    return invalid("l2norm: offset + heads * head_dim exceeds the row of " + std::to_string(buffer.dim(1)));
  const Tensor x = buffer.slice(1, offset, offset + heads * dim).split_last(heads, dim);
  return call.run(l2norm,
                  {.x = x, .y = call.output("y", call.dtype(), {x.dim(0), heads, dim}), .eps = float(call.number("eps", 1e-6))});
}

Status run_gating(OpCall& call) {
  SLUICE_NEED(a, "a");
  SLUICE_NEED(b, "b");
  SLUICE_NEED(A_log, "A_log");
  SLUICE_NEED(dt_bias, "dt_bias");
  const int64_t T = a.dim(0), HV = a.dim(1);
  const Tensor g = call.output("g", DType::kF32, {T, HV}), alpha = call.output("alpha", DType::kF32, {T, HV});
  SLUICE_RETURN_IF_ERROR(call.run(gating, {.a = a,
                                           .b = b,
                                           .A_log = A_log,
                                           .dt_bias = dt_bias,
                                           .log_g = g,
                                           .beta = call.output("beta", DType::kF32, {T, HV}),
                                           .allow_neg_eigval = call.flag("allow_neg_eigval", false)}));
  for (int64_t i = 0; i < T * HV; ++i) alpha.as<float>()[i] = std::exp(g.as<float>()[i]);
  return {};
}

// Even dims first, then odd ones, as transformers stores interleaved rotations.
void output_deinterleaved(OpCall& call, const std::string& name, const Tensor& t) {
  const int64_t rows = t.dim(0) * t.dim(1), D = t.dim(2);
  const Tensor wide = t.dtype == DType::kF32 ? t : call.copy(t, DType::kF32);
  const Tensor out = call.output(name, DType::kF32, {t.dim(0), t.dim(1), D});
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < D; ++i) out.as<float>()[r * D + (i % 2) * (D / 2) + i / 2] = wide.as<float>()[r * D + i];
}

RopeScaling yarn_params(const OpCall& call) {
  const auto* yarn = call.params().if_contains("yarn");
  if (!yarn || !yarn->is_object()) return {};
  auto get = [&](const char* key, double fallback) {
    const auto* v = yarn->as_object().if_contains(key);
    return v ? v->to_number<double>() : fallback;
  };
  return {.factor = get("factor", 1),
          .original_max_position = get("original_max_position_embeddings", 4096),
          .beta_fast = get("beta_fast", 32),
          .beta_slow = get("beta_slow", 1),
          .mscale = get("mscale", 1),
          .mscale_all_dim = get("mscale_all_dim", 0)};
}

// Which axis each pair follows, found by turning unit vectors: only that axis' position is not zero.
Status output_axis_of_pair(OpCall& call, RopeArgs a, int64_t pairs) {
  const Tensor axis = call.output("axis_of_pair", DType::kI32, {pairs});
  const Tensor positions = call.make(DType::kI32, {3, 1});
  const Tensor q = call.make(DType::kF32, {1, 1, 2 * pairs}), turned = call.make(DType::kF32, {1, 1, 2 * pairs});
  for (int64_t i = 0; i < pairs; ++i) q.as<float>()[i] = 1;
  a.q = q, a.q_out = turned, a.k = a.k_out = Tensor(), a.positions = positions;
  for (int32_t which = 0; which < 3; ++which) {
    for (int32_t d = 0; d < 3; ++d) positions.as<int32_t>()[d] = d == which ? 1000 : 0;
    SLUICE_RETURN_IF_ERROR(call.run(rope, a));
    for (int64_t i = 0; i < pairs; ++i)
      if (turned.as<float>()[pairs + i] != 0) axis.as<int32_t>()[i] = which;
  }
  return {};
}

Status run_rope(OpCall& call) {
  SLUICE_NEED(q, "q");
  SLUICE_NEED(k, "k");
  SLUICE_NEED(positions, "positions");
  const RopeScaling scaling = yarn_params(call);
  const int rotary_dim = int(call.number("rotary_dim", double(q.dim(2))));
  const std::vector<double> inv_freq = rope_frequencies(call.number("theta", 10000), rotary_dim, scaling);
  const int64_t pairs = int64_t(inv_freq.size());
  RopeArgs a{.q = q,
             .k = k,
             .positions = positions,
             .inv_freq = Tensor::of(inv_freq.data(), {pairs}),
             .q_out = call.output("q", call.dtype(), {q.dim(0), q.dim(1), q.dim(2)}),
             .k_out = call.output("k", call.dtype(), {k.dim(0), k.dim(1), k.dim(2)}),
             .style = call.text("style", "neox") == "interleaved" ? RopeStyle::kInterleaved : RopeStyle::kHalfSplit,
             .cos_sin_factor = float(rope_cos_sin_factor(scaling))};
  if (const auto* section = call.params().if_contains("mrope_section"))
    for (int i = 0; i < 3; ++i) a.mrope_section[size_t(i)] = int(section->as_array().at(size_t(i)).to_number<int64_t>());
  SLUICE_RETURN_IF_ERROR(call.run(rope, a));
  const Tensor freq = call.output("inv_freq", DType::kF32, {pairs});
  std::copy(inv_freq.begin(), inv_freq.end(), freq.as<float>());
  if (a.style == RopeStyle::kInterleaved) {
    output_deinterleaved(call, "q_deinterleaved", a.q_out);
    output_deinterleaved(call, "k_deinterleaved", a.k_out);
  }
  return positions.rank == 2 ? output_axis_of_pair(call, a, pairs) : Status();
}

Status run_conv_prefill(OpCall& call) {
  SLUICE_NEED(x, "x");
  SLUICE_NEED(weight, "weight");
  SLUICE_NEED(conv_state, "conv_state");
  SLUICE_NEED(cu_seqlens, "cu_seqlens");
  const Tensor state = call.copy(conv_state);
  call.output("conv_state", state);
  return call.run(causal_conv1d, {.x = x,
                                  .weight = weight,
                                  .bias = call.find("bias"),
                                  .conv_state = state,
                                  .cu_seqlens = cu_seqlens,
                                  .slots = call.ints(count_up(cu_seqlens.dim(0) - 1)),
                                  .has_state = call.find("has_initial_state"),
                                  .y = call.output("y", call.dtype(), {x.dim(0), x.dim(1)}),
                                  .silu = call.text("activation", "silu") == "silu"});
}

Status run_conv_update(OpCall& call) {
  SLUICE_NEED(x, "x");
  SLUICE_NEED(weight, "weight");
  SLUICE_NEED(conv_state, "conv_state");
  SLUICE_NEED(slots, "slots");
  const int64_t B = x.dim(0), tokens = x.rank == 3 ? x.dim(1) : 1, C = x.dim(x.rank - 1), past = weight.dim(1) - 1;
  std::vector<int32_t> cu = count_up(B + 1);
  for (auto& c : cu) c *= int32_t(tokens);
  const Tensor state = call.copy(conv_state);
  call.output("conv_state", state);
  const bool verify = x.rank == 3;
  CausalConv1dArgs a{.x = x.reshape({B * tokens, C}),
                     .weight = weight,
                     .bias = call.find("bias"),
                     .conv_state = state,
                     .cu_seqlens = call.ints(cu),
                     .slots = slots,
                     .y = call.make(call.dtype(), {B * tokens, C}),
                     .silu = call.text("activation", "silu") == "silu"};
  if (verify) a.step_states = call.make(conv_state.dtype, {B * tokens, C, past});
  SLUICE_RETURN_IF_ERROR(call.run(causal_conv1d, a));
  call.output("y", verify ? a.y.reshape({B, tokens, C}) : a.y);
  if (verify) {
    Tensor states = a.step_states;
    states = Tensor(states.data, states.dtype, {B, tokens, C, past});
    call.output("states", states);
  }
  return {};
}

Status run_qkv_split(OpCall& call) {
  const int64_t HK = int64_t(call.number("num_k_heads", 0)), HV = int64_t(call.number("num_v_heads", 0));
  const int64_t K = int64_t(call.number("head_k_dim", 0)), V = int64_t(call.number("head_v_dim", 0));
  QkvSplitArgs a;
  DType out;
  const bool conv = call.find("mixed_qkv").present(), per_key_head = call.find("qkvz").present();
  if (conv) {
    SLUICE_NEED(x, "mixed_qkv");
    SLUICE_NEED(weight, "weight");
    out = call.dtype();
    a.mixed = call.make(out, {x.dim(0), x.dim(1)});
    const Tensor state = call.make(x.dtype, {1, x.dim(1), weight.dim(1) - 1});
    SLUICE_RETURN_IF_ERROR(call.run(causal_conv1d, {.x = x,
                                                    .weight = weight,
                                                    .bias = call.find("bias"),
                                                    .conv_state = state,
                                                    .cu_seqlens = call.ints({0, int32_t(x.dim(0))}),
                                                    .slots = call.ints({0}),
                                                    .has_state = call.ints({0}),
                                                    .y = a.mixed}));
  } else {
    SLUICE_NEED(mixed, per_key_head ? "qkvz" : "buffer");
    a.mixed = mixed, out = mixed.dtype;
  }
  const int64_t T = a.mixed.dim(0);
  if (per_key_head) {
    SLUICE_NEED(ba, "ba");
    a.ba = ba, a.layout = QkvLayout::kPerKeyHead;
  }
  a.q = call.output("q", out, {T, HK, K}), a.k = call.output("k", out, {T, HK, K}), a.v = call.output("v", out, {T, HV, V});
  if (!conv) {
    a.z = call.output("z", out, {T, HV, V});
    a.b = call.output("b", out, {T, HV}), a.a = call.output("a", out, {T, HV});
  }
  return call.run(qkv_split, a);
}

Status run_embed(OpCall& call) {
  SLUICE_NEED(ids, "ids");
  SLUICE_NEED(table, "table");
  return call.run(embed, {.ids = ids, .table = table, .out = call.output("out", DType::kF32, {ids.dim(0), table.dim(1)})});
}

Status run_matmul(OpCall& call) {
  SLUICE_NEED(x, "x");
  SLUICE_NEED(w, "w");
  return call.run(matmul, {.x = x, .w = w, .y = call.output("y", call.dtype(), {x.dim(0), w.dim(0)})});
}

Status run_silu_mul(OpCall& call) {
  SLUICE_NEED(gate, "gate");
  SLUICE_NEED(up, "up");
  return call.run(silu_mul, {.gate = gate, .up = up, .y = call.output("y", call.dtype(), {gate.dim(0), gate.dim(1)})});
}

}  // namespace

std::vector<OpAdapter> row_adapters() {
  return {
      {"causal_conv1d_prefill", "causal_conv1d", run_conv_prefill, {}},
      {"causal_conv1d_update", "causal_conv1d", run_conv_update, {}},
      {"embed", "embed", run_embed, {}},
      {"gated_rmsnorm", "gated_rmsnorm", run_gated_rmsnorm, {}},
      {"gating", "gating", run_gating, {}},
      {"l2norm", "l2norm", run_l2norm, {}},
      {"matmul", "matmul", run_matmul, {}},
      {"qkv_split", "qkv_split", run_qkv_split, {"causal_conv1d"}},
      {"rmsnorm", "rmsnorm", run_rmsnorm, {}},
      {"rope", "rope", run_rope, {}},
      {"silu_mul", "silu_mul", run_silu_mul, {}},
  };
}

}  // namespace sluice
