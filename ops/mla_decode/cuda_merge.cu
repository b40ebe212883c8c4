// How the tensor-core forms cut a call, and the merge of the stretches of a list: see work.cuh.
#include <algorithm>
#include <cmath>

#include "core/cuda/launch.h"
#include "ops/merge_state/states.h"
#include "ops/mla_decode/forms.h"
#include "ops/mla_decode/splits.h"
#include "ops/mla_decode/tiles.cuh"
#include "ops/mla_decode/work.cuh"

namespace sluice {
namespace {

using namespace cuda;
using namespace mla_tiles;

// A block of threads a row of o, 4 columns a thread ---

constexpr int kMergeThreads = kLatent / 4;
static_assert(kMostSplits == 2 * kWarp, "a lane has two stretches' logarithms");
constexpr float kLog2E = 1.44269504088896341f;

__global__ void __launch_bounds__(kMergeThreads) mla_decode_merge_kernel(const __grid_constant__ Call c) {
  wait_for_previous_kernel();
  const int64_t row = blockIdx.x, token = row / c.heads, head = row % c.heads;
  const int splits = c.cut.splits, lane = int(threadIdx.x) % kWarp;
  const float* lse = c.part_lse + row * splits;
  const float* part = c.part_o + row * splits * kLatent + threadIdx.x * 4;
  float log[2], most = -INFINITY;
  for (int i = 0; i < 2; ++i) {
    log[i] = lane + i * kWarp < splits ? lse[lane + i * kWarp] : -INFINITY;
    most = fmaxf(most, log[i]);
  }
  for (int d = kWarp / 2; d > 0; d /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, d));
  const float shift = shift_of(most), weight[2] = {ptx::exp2_approx(log[0] - shift), ptx::exp2_approx(log[1] - shift)};
  const float total = group_sum(weight[0] + weight[1]);
  float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll 8
  for (int i = 0; i < splits; ++i) {
    const float w = __shfl_sync(0xffffffffu, i < kWarp ? weight[0] : weight[1], i % kWarp);
    float4 x = make_float4(0, 0, 0, 0);
    if (w != 0) x = *reinterpret_cast<const float4*>(part + i * kLatent);  // what an empty stretch holds is not written
    sum = make_float4(fmaf(w, x.x, sum.x), fmaf(w, x.y, sum.y), fmaf(w, x.z, sum.z), fmaf(w, x.w, sum.w));
  }
  const float inverse = inverse_of(total);
  char* out = c.o + token * c.o_row + head * c.o_head;
  if (c.o_is_f32) {
    auto* to = reinterpret_cast<float2*>(out) + threadIdx.x * 2;
    to[0] = make_float2(sum.x * inverse, sum.y * inverse), to[1] = make_float2(sum.z * inverse, sum.w * inverse);
  } else {
    auto* to = reinterpret_cast<uint32_t*>(out) + threadIdx.x * 2;
    to[0] = ptx::pack_bf16(sum.x * inverse, sum.y * inverse), to[1] = ptx::pack_bf16(sum.z * inverse, sum.w * inverse);
  }
  if (threadIdx.x == 0 && c.lse) c.lse[token * c.lse_row + head * c.lse_head] = log2_of(most, total) * c.to_base;
}

size_t part_floats(const Cut& cut, const MlaDecodeArgs& a) {
  return cut.splits > 1 ? size_t(a.q_nope.dim(0) * a.q_nope.dim(1) * cut.splits) : 0;
}

}  // namespace

namespace mla_tiles {

Cut cut_call(const MlaDecodeArgs& a, int rows, int sms) {
  const int64_t T = a.q_nope.dim(0), H = a.q_nope.dim(1), each = mla_decode_rows_each(a);
  Cut cut{.rows = rows};
  cut.tokens = int(std::clamp<int64_t>(cut.rows / std::max<int64_t>(H, 1), 1, each));
  cut.head_tiles = int((H + cut.rows - 1) / cut.rows);
  cut.groups_each = int((each + cut.tokens - 1) / cut.tokens);
  cut.groups = cut.tokens > 1 ? a.seq_lens.dim(0) * cut.groups_each : T;
  const int64_t most_keys = a.indices.present() ? a.indices.dim(1) : a.block_table.dim(1) * a.kv.dim(1);
  cut.splits = splits_of(cut.groups * cut.head_tiles, (most_keys + kBlock - 1) / kBlock, sms);
  return cut;
}

size_t workspace_of(const Cut& cut, const MlaDecodeArgs& a) { return part_floats(cut, a) * (kLatent + 1) * sizeof(float); }

Call make_call(const MlaDecodeArgs& a, const Cut& cut, std::byte* scratch) {
  const int64_t q_size = int64_t(dtype_size(a.q_nope.dtype)), o_size = int64_t(dtype_size(a.o.dtype));
  auto* parts = reinterpret_cast<float*>(scratch);
  return {.keys = MlaKeys(a),
          .cut = cut,
          .q_nope = static_cast<const char*>(a.q_nope.data),
          .q_pe = static_cast<const char*>(a.q_pe.data),
          .q_nope_row = a.q_nope.stride[0] * q_size,
          .q_nope_head = a.q_nope.stride[1] * q_size,
          .q_pe_row = a.q_pe.stride[0] * q_size,
          .q_pe_head = a.q_pe.stride[1] * q_size,
          .q_is_f32 = a.q_nope.dtype == DType::kF32,
          .o_is_f32 = a.o.dtype == DType::kF32,
          .o = static_cast<char*>(a.o.data),
          .o_row = a.o.stride[0] * o_size,
          .o_head = a.o.stride[1] * o_size,
          .lse = a.lse.present() ? a.lse.as<float>() : nullptr,
          .lse_row = a.lse.stride[0],
          .lse_head = a.lse.stride[1],
          .part_o = parts,
          .part_lse = parts + part_floats(cut, a) * kLatent,
          .tokens = a.q_nope.dim(0),
          .heads = int(a.q_nope.dim(1)),
          .scale_log2 = a.scale * kLog2E,
          .to_base = float(kLn2 / natural_log_of(a.base))};
}

Status merge_stretches(const Context& ctx, const Call& call) {
  if (call.cut.splits == 1) return {};
  return launch(ctx, mla_decode_merge_kernel,
                {.grid = unsigned(call.tokens * call.heads), .block = kMergeThreads, .dependent = true}, call);
}

}  // namespace mla_tiles
}  // namespace sluice
