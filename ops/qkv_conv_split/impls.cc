#include "core/check.h"
#include "ops/causal_conv1d/sequences.h"
#include "ops/qkv_conv_split/forms.h"
#include "ops/qkv_conv_split/qkv_conv_split.h"

namespace sluice {
namespace {

void check_ring(ArgCheck& c, const QkvConvSplitArgs& a, int64_t C, int64_t W) {
  c.rank("conv_ring", a.conv_ring, 3, 3)
      .dtype("conv_ring", a.conv_ring, {DType::kF32, DType::kBF16})
      .inner_contiguous("conv_ring", a.conv_ring);
  c.that(a.conv_ring.dtype == DType::kF32 || a.qkv.dtype == DType::kBF16, "conv_ring is BF16, which keeps rows of BF16 only");
  const int64_t R = a.conv_ring.shape[1];
  c.shape("conv_ring", a.conv_ring, {a.conv_ring.shape[0], R, C});
  c.that(R >= W && (R & (R - 1)) == 0, "conv_ring must hold a power of two of rows, no fewer than the weight's width");
}

void check_start(ArgCheck& c, const QkvConvSplitArgs& a) {
  c.dtype("start", a.start, {DType::kI32}).shape("start", a.start, {a.slots.shape[0]}).inner_contiguous("start", a.start);
  if (!c.status().ok() || a.start.on_gpu()) return;
  for (int64_t b = 0; b < a.start.shape[0]; ++b) {
    const int32_t start = a.start.as<int32_t>()[b];
    if (start >= 0 || a.slots.as<int32_t>()[b] < 0) continue;
    const std::string what = "start[" + std::to_string(b) + "] is " + std::to_string(start) + ", wanted a position of 0 or more";
    c.that(false, what.c_str());
    return;
  }
}

}  // namespace

Status check_qkv_conv_split(const QkvConvSplitArgs& a) {
  const auto floats = {DType::kF32, DType::kBF16};
  ArgCheck c("qkv_conv_split");
  c.rank("qkv", a.qkv, 2, 2).dtype("qkv", a.qkv, floats).inner_contiguous("qkv", a.qkv);
  c.rank("q", a.q, 3, 3).rank("v", a.v, 3, 3).rank("weight", a.weight, 2, 2);
  const int64_t T = a.qkv.shape[0], HK = a.q.shape[1], K = a.q.shape[2], HV = a.v.shape[1], V = a.v.shape[2];
  const int64_t C = 2 * HK * K + HV * V, W = a.weight.shape[1];
  c.shape("qkv", a.qkv, {T, C});
  c.dtype("q", a.q, floats).shape("q", a.q, {T, HK, K}).inner_contiguous("q", a.q);
  c.dtype("k", a.k, {a.q.dtype}).shape("k", a.k, {T, HK, K}).inner_contiguous("k", a.k);
  c.dtype("v", a.v, {a.q.dtype}).shape("v", a.v, {T, HV, V}).inner_contiguous("v", a.v);
  c.dtype("b", a.b, floats).shape("b", a.b, {T, HV}).inner_contiguous("b", a.b);
  c.dtype("a", a.a, floats).shape("a", a.a, {T, HV}).inner_contiguous("a", a.a);
  c.dtype("weight", a.weight, floats).that(W >= 2 && W <= 4, "weight has a width outside 2 to 4").shape("weight", a.weight, {C, W});
  c.that(a.weight.contiguous(), "weight must be dense");
  c.dtype("A_log", a.A_log, floats).shape("A_log", a.A_log, {HV}).inner_contiguous("A_log", a.A_log);
  c.dtype("dt_bias", a.dt_bias, floats).shape("dt_bias", a.dt_bias, {HV}).inner_contiguous("dt_bias", a.dt_bias);
  c.dtype("log_g", a.log_g, {DType::kF32}).shape("log_g", a.log_g, {T, HV}).inner_contiguous("log_g", a.log_g);
  c.dtype("beta", a.beta, {DType::kF32}).shape("beta", a.beta, {T, HV}).inner_contiguous("beta", a.beta);
  check_ring(c, a, C, W);
  check_sequences(c, a.cu_seqlens, a.slots, T, a.conv_ring.shape[0]);
  check_start(c, a);
  return c.status();
}

namespace {

Can floats_only(const QkvConvSplitArgs& a) {
  if (a.q.dtype == DType::kBF16) return Can::no("it writes q, k and v in fp32 only");
  return a.conv_ring.dtype == DType::kBF16 ? Can::no("it keeps a ring of fp32 only") : Can{};
}

Can heads_of_a_warp(const QkvConvSplitArgs& a) {
  return a.q.shape[2] <= 256 ? Can{} : Can::no("its key heads have 256 channels at most, what a warp normalises in registers");
}

size_t workspace(const Context& ctx, const QkvConvSplitArgs& a) {
  const int64_t staged_rows = a.weight.shape[1] + 1;  // StagedTaps::kRows
  return size_t(ctx.team->size() * staged_rows * staged_taps_pitch(a)) * sizeof(float);
}

constexpr Impl<QkvConvSplitArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .can = heads_of_a_warp, .run = SLUICE_CUDA_FORM(qkv_conv_split_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .can = floats_only, .workspace = workspace, .run = qkv_conv_split_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .can = floats_only, .workspace = workspace, .run = qkv_conv_split_avx2},
    {.name = "cpu", .can = floats_only, .workspace = workspace, .run = qkv_conv_split_cpu},
    {.name = "reference", .run = qkv_conv_split_reference},
};

}  // namespace

std::span<const Impl<QkvConvSplitArgs>> qkv_conv_split_impls() { return kImpls; }
OpInfo qkv_conv_split_op_info() { return describe_op("qkv_conv_split", qkv_conv_split_impls()); }
Status qkv_conv_split(Context& ctx, const QkvConvSplitArgs& a) {
  return dispatch("qkv_conv_split", qkv_conv_split_impls(), check_qkv_conv_split, ctx, a);
}

}  // namespace sluice
