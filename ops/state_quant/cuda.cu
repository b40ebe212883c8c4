// A state to a block, and its rows to the block's warps in turn, the next one on its way while a row is computed; a thread has four
// neighbouring values of a row at a time. The sums for the error are a thread's over its rows, then one tree over the threads.
#include "core/cuda/launch.h"
#include "core/cuda/rows.cuh"
#include "ops/state_quant/forms.h"
#include "ops/state_quant/scale.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = 512, kWarps = kThreads / kWarp;
constexpr int kFour = 4, kOfWarp = kWarp * kFour;

struct StateQuant {
  const float* x;
  int8_t* q;
  float *scale, *error;
  int64_t x_state, x_row, q_state, q_row, scale_state;
  int rows, length;
};

// Nothing that is NaN is lost.
__device__ float warp_largest(float x) {
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2) x = ptx::max_nan(x, __shfl_xor_sync(0xffffffffu, x, apart));
  return x;
}

__device__ double warp_sum(double x) {
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2) x += __shfl_xor_sync(0xffffffffu, x, apart);
  return x;
}

// 0 for NaN.
__device__ uint32_t pack(float a, float b, float c, float d) {
  const uint32_t low = __byte_perm(__float2int_rn(a), __float2int_rn(b), 0x0040);
  return __byte_perm(low, __byte_perm(__float2int_rn(c), __float2int_rn(d), 0x0040), 0x5410);
}

template <int kParts>  // of kOfWarp values that a row has
__global__ void __launch_bounds__(kThreads, kParts == 1 ? 3 : 2) state_quant_kernel(const __grid_constant__ StateQuant a) {
  __shared__ double sums[2][kWarps];
  const int warp = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
  const float* x = a.x + blockIdx.x * a.x_state;
  int8_t* q = a.q + blockIdx.x * a.q_state;
  wait_for_previous_kernel();
  float4 next[kParts];
  const auto load = [&](int r) {
#pragma unroll
    for (int i = 0; i < kParts; ++i)
      if (const int d = i * kOfWarp + lane * kFour; r < a.rows && d < a.length)
        next[i] = *reinterpret_cast<const float4*>(x + r * a.x_row + d);
      else next[i] = float4{};
  };
  double errors = 0, squares = 0;
  load(warp);
  for (int r = warp; r < a.rows; r += kWarps) {
    float4 v[kParts];
    float most = 0;
#pragma unroll
    for (int i = 0; i < kParts; ++i) {
      v[i] = next[i];
      most =
          ptx::max_nan(ptx::max_nan(most, ptx::max_nan(fabsf(v[i].x), fabsf(v[i].y))), ptx::max_nan(fabsf(v[i].z), fabsf(v[i].w)));
    }
    load(r + kWarps);
    const float scale = scale_of_row(warp_largest(most));
    float row_errors = 0, row_squares = 0;
    const auto code = [&](float value) {
      const float y = value / scale, e = y - rintf(y);
      row_errors = fmaf(e, e, row_errors), row_squares = fmaf(y, y, row_squares);
      return y;
    };
#pragma unroll
    for (int i = 0; i < kParts; ++i) {
      const int d = i * kOfWarp + lane * kFour;
      const uint32_t four = pack(code(v[i].x), code(v[i].y), code(v[i].z), code(v[i].w));
      if (d < a.length) *reinterpret_cast<uint32_t*>(q + r * a.q_row + d) = four;
    }
    if (lane == 0) a.scale[blockIdx.x * a.scale_state + r] = scale;
    const double square = double(scale) * scale;
    errors += square * row_errors, squares += square * row_squares;
  }
  errors = warp_sum(errors), squares = warp_sum(squares);
  if (lane == 0) sums[0][warp] = errors, sums[1][warp] = squares;
  __syncthreads();
  if (warp > 0) return;
  errors = warp_sum(lane < kWarps ? sums[0][lane] : 0), squares = warp_sum(lane < kWarps ? sums[1][lane] : 0);
  if (lane == 0) a.error[blockIdx.x] = squares == 0 ? 0 : float(sqrt(errors / squares));
}

}  // namespace

Status state_quant_cuda(Context& ctx, const StateQuantArgs& args, std::byte*) {
  const StateQuant a{.x = args.x.as<float>(),
                     .q = args.q.as<int8_t>(),
                     .scale = args.scale.as<float>(),
                     .error = args.error.as<float>(),
                     .x_state = args.x.stride[0],
                     .x_row = args.x.stride[1],
                     .q_state = args.q.stride[0],
                     .q_row = args.q.stride[1],
                     .scale_state = args.scale.stride[0],
                     .rows = int(args.x.dim(1)),
                     .length = int(args.x.dim(2))};
  const LaunchShape shape{.grid = unsigned(args.x.dim(0)), .block = kThreads, .dependent = true};
  return a.length <= kOfWarp ? launch(ctx, state_quant_kernel<1>, shape, a) : launch(ctx, state_quant_kernel<2>, shape, a);
}

}  // namespace sluice
