// The gated delta rule. The files hold the state of the recurrence; the open chunk starts from it with no open rows, and gdn_close
// gives it back.
#include <cstring>

#include "op_runner/op_runner.h"
#include "ops/gating/gating.h"
#include "ops/gdn_close/gdn_close.h"
#include "ops/gdn_decode/gdn_decode.h"
#include "ops/gdn_decode_classic/gdn_decode_classic.h"
#include "ops/gdn_prefill/gdn_prefill.h"
#include "ops/gdn_verify/gdn_verify.h"

namespace sluice {
namespace {

// Slots whose states are `initial` [S, HV, K, V], or zero.
GdnState open_chunks(OpCall& call, const Tensor& initial, int64_t S, int64_t HK, int64_t HV, int64_t K, int64_t V) {
  return {.s = initial.present() ? call.copy(initial, DType::kF32) : call.make(DType::kF32, {S, HV, K, V}),
          .k = call.make(DType::kF32, {S, HK, K, kChunk}),
          .u = call.make(DType::kF32, {S, HV, kChunk, V}),
          .g = call.make(DType::kF32, {S, HV, kChunk})};
}

Status run_gdn_prefill(OpCall& call) {
  SLUICE_NEED(q, "q");
  SLUICE_NEED(k, "k");
  SLUICE_NEED(v, "v");
  SLUICE_NEED(g, "g");
  SLUICE_NEED(beta, "beta");
  SLUICE_NEED(cu, "cu_seqlens");
  const Tensor initial = call.find("initial_state");
  const int64_t N = cu.dim(0) - 1, T = q.dim(0), HK = q.dim(1), K = q.dim(2), HV = v.dim(1), V = v.dim(2);
  const GdnState state = open_chunks(call, initial, N, HK, HV, K, V);
  std::vector<int32_t> slots, rows;
  for (int64_t i = 0; i < N; ++i) {
    slots.push_back(int32_t(i));
    rows.push_back((cu.as<int32_t>()[i + 1] - cu.as<int32_t>()[i]) % int32_t(kChunk));
  }
  const Tensor slot_tensor = call.ints(slots);
  SLUICE_RETURN_IF_ERROR(call.run(gdn_prefill, {{.q = call.operand(q),
                                                 .k = call.operand(k),
                                                 .v = call.operand(v),
                                                 .log_g = g,
                                                 .beta = beta,
                                                 .cu_seqlens = cu,
                                                 .start = call.ints(std::vector<int32_t>(N, 0)),
                                                 .slots = slot_tensor,
                                                 .has_state = call.ints(std::vector<int32_t>(N, initial.present())),
                                                 .state = state,
                                                 .o = call.output("o", call.dtype(), {T, HV, V}),
                                                 .scale = call.scale_for(K),
                                                 .qk_l2norm = call.flag("qk_l2norm_in_kernel", false),
                                                 .l2_eps = float(call.number("l2_eps", 1e-6))}}));
  SLUICE_RETURN_IF_ERROR(call.run(gdn_close, {.slots = slot_tensor, .rows = call.ints(rows), .state = state}));
  call.output("final_state", state.s);
  return {};
}

// What gdn_decode and gdn_verify cases share. Rows of all sequences in one dimension.
struct StepInputs {
  Tensor q, k, v, log_g, beta, slots, pool;
  int64_t B, tokens, HK, HV, K, V;
};

Status read_step(OpCall& call, bool many_tokens, StepInputs& s) {
  SLUICE_NEED(q, "q");
  SLUICE_NEED(k, "k");
  SLUICE_NEED(v, "v");
  SLUICE_NEED(a, "a");
  SLUICE_NEED(b, "b");
  SLUICE_NEED(A_log, "A_log");
  SLUICE_NEED(dt_bias, "dt_bias");
  SLUICE_NEED(pool, "state_pool");
  SLUICE_NEED(slots, "slots");
  const int h = many_tokens ? 2 : 1;  // the dimension of heads
  if (q.rank != h + 2) return invalid("in.q has rank " + std::to_string(q.rank) + ", wanted " + std::to_string(h + 2));
  s.B = q.dim(0), s.tokens = many_tokens ? q.dim(1) : 1, s.HK = q.dim(h), s.K = q.dim(h + 1), s.HV = v.dim(h), s.V = v.dim(h + 1);
  const int64_t T = s.B * s.tokens;
  s.q = call.operand(q).reshape({T, s.HK, s.K}), s.k = call.operand(k).reshape({T, s.HK, s.K}),
  s.v = call.operand(v).reshape({T, s.HV, s.V});
  s.slots = slots, s.pool = pool;
  s.log_g = call.make(DType::kF32, {T, s.HV}), s.beta = call.make(DType::kF32, {T, s.HV});
  SLUICE_RETURN_IF_ERROR(call.run(gating, {.a = a.reshape({T, s.HV}),
                                           .b = b.reshape({T, s.HV}),
                                           .A_log = A_log,
                                           .dt_bias = dt_bias,
                                           .log_g = s.log_g,
                                           .beta = s.beta,
                                           .allow_neg_eigval = call.flag("allow_neg_eigval", false)}));
  auto shaped = [&](const Tensor& t) { return many_tokens ? t.reshape({s.B, s.tokens, s.HV}) : t; };
  call.output("g", shaped(s.log_g)), call.output("beta", shaped(s.beta));
  return {};
}

GdnArgs step_args(OpCall& call, const StepInputs& s, const GdnState& state, const Tensor& o) {
  return {.q = s.q,
          .k = s.k,
          .v = s.v,
          .log_g = s.log_g,
          .beta = s.beta,
          .start = call.ints(std::vector<int32_t>(s.B, 0)),
          .slots = s.slots,
          .has_state = call.ints(std::vector<int32_t>(s.B, 1)),
          .state = state,
          .o = o,
          .scale = call.scale_for(s.K),
          .qk_l2norm = call.flag("qk_l2norm_in_kernel", false),
          .l2_eps = float(call.number("l2_eps", 1e-6))};
}

Status run_gdn_decode(OpCall& call) {
  StepInputs s;
  SLUICE_RETURN_IF_ERROR(read_step(call, false, s));
  const GdnState state = open_chunks(call, s.pool, s.pool.dim(0), s.HK, s.HV, s.K, s.V);
  SLUICE_RETURN_IF_ERROR(call.run(gdn_decode, {step_args(call, s, state, call.output("o", call.dtype(), {s.B, s.HV, s.V}))}));
  const std::vector<int32_t> one_row(s.B, 1);
  SLUICE_RETURN_IF_ERROR(call.run(gdn_close, {.slots = s.slots, .rows = call.ints(one_row), .state = state}));
  call.output("state_pool", call.copy(state.s, s.pool.dtype));
  return {};
}

Status run_decode_classic(OpCall& call) {
  StepInputs s;
  SLUICE_RETURN_IF_ERROR(read_step(call, false, s));
  const Tensor state = call.copy(s.pool);
  call.output("state_pool", state);
  return call.run(gdn_decode_classic, {.q = s.q,
                                       .k = s.k,
                                       .v = s.v,
                                       .log_g = s.log_g,
                                       .beta = s.beta,
                                       .slots = s.slots,
                                       .state = state,
                                       .o = call.output("o", call.dtype(), {s.B, s.HV, s.V}),
                                       .scale = call.scale_for(s.K),
                                       .qk_l2norm = call.flag("qk_l2norm_in_kernel", false),
                                       .l2_eps = float(call.number("l2_eps", 1e-6))});
}

// The state after each token: the first t + 1 rows folded into a copy.
Status output_step_states(OpCall& call, const StepInputs& s, const GdnState& state) {
  const Tensor states = call.output("states", DType::kF32, {s.B, s.tokens, s.HV, s.K, s.V});
  const int64_t size = s.HV * s.K * s.V;
  for (int64_t t = 0; t < s.tokens; ++t) {
    GdnState folded = state;
    folded.s = call.copy(state.s);
    SLUICE_RETURN_IF_ERROR(
        call.run(gdn_close, {.slots = s.slots, .rows = call.ints(std::vector<int32_t>(s.B, int32_t(t + 1))), .state = folded}));
    for (int64_t b = 0; b < s.B; ++b)
      if (const int32_t slot = s.slots.as<int32_t>()[b]; slot >= 0)
        std::memcpy(states.as<float>() + (b * s.tokens + t) * size, folded.s.as<float>() + slot * size,
                    size_t(size) * sizeof(float));
  }
  return {};
}

Status run_verify(OpCall& call) {
  StepInputs s;
  SLUICE_RETURN_IF_ERROR(read_step(call, true, s));
  const GdnState state = open_chunks(call, s.pool, s.pool.dim(0), s.HK, s.HV, s.K, s.V);
  std::vector<int32_t> cu;
  for (int64_t b = 0; b <= s.B; ++b) cu.push_back(int32_t(b * s.tokens));
  GdnArgs a = step_args(call, s, state, call.make(call.dtype(), {s.B * s.tokens, s.HV, s.V}));
  a.cu_seqlens = call.ints(cu);
  SLUICE_RETURN_IF_ERROR(call.run(gdn_verify, {a}));
  call.output("o", a.o.reshape({s.B, s.tokens, s.HV, s.V}));
  return output_step_states(call, s, state);
}

}  // namespace

std::vector<OpAdapter> delta_adapters() {
  return {
      {"gdn_prefill", "gdn_prefill", run_gdn_prefill, {"gdn_close"}},
      {"gdn_decode", "gdn_decode", run_gdn_decode, {"gating", "gdn_close"}},
      {"gdn_decode", "gdn_decode_classic", run_decode_classic, {"gating"}},
      {"gdn_mtp_verify", "gdn_verify", run_verify, {"gating", "gdn_close"}},
  };
}

}  // namespace sluice
