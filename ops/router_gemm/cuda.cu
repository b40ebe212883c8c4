// Two forms. With bf16 x and rows of w that are multiples of 128 bytes, few_rows.cuh with clusters of eight blocks: 256 experts are
// 128 blocks, and x is read 16 times. Any other matrices: a block has an expert and four tokens, its threads runs of 8 elements.
#include <algorithm>

#include "core/cuda/launch.h"
#include "core/cuda/ptx.h"
#include "core/cuda/rows.cuh"
#include "ops/fused_a_gemm/few_rows.cuh"
#include "ops/router_gemm/forms.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = 128, kWarps = kThreads / kWarp, kTokens = 4;
constexpr int kTogether = 2;  // runs of a row that are on their way at once

// Strides in elements.
struct Router {
  const void *x, *w;
  void* logits;
  int64_t x_row, w_row, logits_row;
  int64_t tokens, experts, depth;
  bool logits_are_bf16;
};

template <bool kWide, class X, class W>
__device__ void multiply(const Router& r, const W* w, int64_t token, float (&sum)[kTokens]) {
  for (int64_t begin = int64_t(threadIdx.x) * kRun; begin < r.depth; begin += kTogether * kThreads * kRun) {
    Run<W> of_w[kTogether];
    int n[kTogether];
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      const int64_t k = begin + j * kThreads * kRun;
      n[j] = int(max(min(r.depth - k, int64_t(kRun)), int64_t(0)));
      of_w[j] = load_run(w + k, n[j], kWide);
    }
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      if (token + t >= r.tokens) break;
      const X* x = static_cast<const X*>(r.x) + (token + t) * r.x_row + begin;
      Run<X> of_x[kTogether];
#pragma unroll
      for (int j = 0; j < kTogether; ++j) of_x[j] = load_run(x + j * kThreads * kRun, n[j], kWide);
#pragma unroll
      for (int j = 0; j < kTogether; ++j)
#pragma unroll
        for (int i = 0; i < kRun; ++i)
          if (i < n[j]) sum[t] = fmaf(of_x[j][i], of_w[j][i], sum[t]);
    }
  }
}

template <bool kWide, class X, class W>
__global__ void __launch_bounds__(kThreads) router_gemm_kernel(const __grid_constant__ Router r) {
  __shared__ float of_warp[kWarps][kTokens];
  const W* w = static_cast<const W*>(r.w) + blockIdx.x * r.w_row;
  constexpr int64_t kLine = 128 / int64_t(sizeof(W));  // elements; a line of the second-level cache
  for (int64_t k = threadIdx.x * kLine; k < r.depth; k += kThreads * kLine) ptx::prefetch_l2(w + k);
  wait_for_previous_kernel();
  for (int64_t token = int64_t(blockIdx.y) * kTokens; token < r.tokens; token += int64_t(gridDim.y) * kTokens) {
    float sum[kTokens] = {};
    multiply<kWide, X>(r, w, token, sum);
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      sum[t] = group_sum(sum[t]);
      if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp][t] = sum[t];
    }
    __syncthreads();
    const int t = int(threadIdx.x);
    if (t < kTokens && token + t < r.tokens) {
      float total = of_warp[0][t];
#pragma unroll
      for (int i = 1; i < kWarps; ++i) total += of_warp[i][t];
      const int64_t at = (token + t) * r.logits_row + blockIdx.x;
      if (r.logits_are_bf16) static_cast<Bf16*>(r.logits)[at] = from_float<Bf16>(total);
      else static_cast<float*>(r.logits)[at] = total;
    }
    __syncthreads();
  }
}

}  // namespace

Status router_gemm_mma(Context& ctx, const RouterGemmArgs& a, std::byte*) {
  constexpr int kSplit = 8;
  if (a.w.dtype == DType::kF32) return launch_few_rows<float, kSplit>(ctx, a.x, a.w, {}, a.logits);
  return launch_few_rows<Bf16, kSplit>(ctx, a.x, a.w, {}, a.logits);
}

Status router_gemm_cuda(Context& ctx, const RouterGemmArgs& a, std::byte*) {
  const Router r{.x = a.x.data,
                 .w = a.w.data,
                 .logits = a.logits.data,
                 .x_row = a.x.stride[0],
                 .w_row = a.w.stride[0],
                 .logits_row = a.logits.stride[0],
                 .tokens = a.x.shape[0],
                 .experts = a.w.shape[0],
                 .depth = a.x.shape[1],
                 .logits_are_bf16 = a.logits.dtype == DType::kBF16};
  const int64_t groups = std::min<int64_t>((r.tokens + kTokens - 1) / kTokens, 65535);
  const LaunchShape shape{.grid = dim3(unsigned(r.experts), unsigned(groups)), .block = kThreads, .dependent = true};
  const bool wide = r.depth % kRun == 0 && wide_runs(a.x) && wide_runs(a.w);
  return visit_float(a.x, [&]<class X>(X*) {
    return visit_float(a.w, [&]<class W>(W*) {
      return wide ? launch(ctx, router_gemm_kernel<true, X, W>, shape, r) : launch(ctx, router_gemm_kernel<false, X, W>, shape, r);
    });
  });
}

}  // namespace sluice
