// 32 rows of a state to a block, four of them to a warp, whose loads are on their way together; a thread has four neighbouring
// values of each.
#include "base/checked.h"
#include "core/cuda/launch.h"
#include "core/cuda/rows.cuh"
#include "ops/state_dequant/forms.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = 256, kWarps = kThreads / kWarp, kFour = 4, kOfWarp = kWarp * kFour;
constexpr int kRows = 4, kOfBlock = kRows * kWarps;

struct StateDequant {
  const int8_t* q;
  const float* scale;
  float* x;
  int64_t q_state, q_row, scale_state, x_state, x_row;
  int rows, length;
};

__device__ float4 widen(uint32_t four) {
  return {float(int8_t(four)), float(int8_t(four >> 8)), float(int8_t(four >> 16)), float(int8_t(four >> 24))};
}

__global__ void __launch_bounds__(kThreads) state_dequant_kernel(const __grid_constant__ StateDequant a) {
  const int warp = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp, first = blockIdx.y * kOfBlock + warp * kRows;
  const int8_t* q = a.q + blockIdx.x * a.q_state + first * a.q_row;
  const float* scales = a.scale + blockIdx.x * a.scale_state + first;
  float* x = a.x + blockIdx.x * a.x_state + first * a.x_row;
  wait_for_previous_kernel();
  float scale[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) scale[r] = first + r < a.rows ? scales[r] : 0;
  for (int d = lane * kFour; d < a.length; d += kOfWarp) {
    uint32_t four[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r)
      if (first + r < a.rows) four[r] = *reinterpret_cast<const uint32_t*>(q + r * a.q_row + d);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (first + r >= a.rows) break;
      const float4 v = widen(four[r]);
      *reinterpret_cast<float4*>(x + r * a.x_row + d) = {v.x * scale[r], v.y * scale[r], v.z * scale[r], v.w * scale[r]};
    }
  }
}

}  // namespace

Status state_dequant_cuda(Context& ctx, const StateDequantArgs& args, std::byte*) {
  const StateDequant a{.q = args.q.as<int8_t>(),
                       .scale = args.scale.as<float>(),
                       .x = args.x.as<float>(),
                       .q_state = args.q.stride[0],
                       .q_row = args.q.stride[1],
                       .scale_state = args.scale.stride[0],
                       .x_state = args.x.stride[0],
                       .x_row = args.x.stride[1],
                       .rows = int(args.q.dim(1)),
                       .length = int(args.q.dim(2))};
  const auto blocks = unsigned(ceil_div(args.q.dim(1), int64_t(kOfBlock)));
  const LaunchShape shape{.grid = {unsigned(args.q.dim(0)), blocks}, .block = kThreads, .dependent = true};
  return launch(ctx, state_dequant_kernel, shape, a);
}

}  // namespace sluice
