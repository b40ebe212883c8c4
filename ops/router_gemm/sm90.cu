// router_gemm for few tokens on Hopper, where what counts is the way from the tokens' arrival to the logits.
//
// A block has 16 experts and 16 tokens, a cluster of eight blocks shares K, and a warp has one piece of 128 of K. It holds its
// weights in registers: they are read before the kernel waits for the one before it. Behind the wait are one read of x, eight
// matrix instructions, a barrier of the block, and one message from each block to the block of the cluster that has the experts.
//
// A thread takes 16 neighbouring bytes of a row at once, of w as of x: the order of k within a matrix instruction is free as long
// as both operands have the same. The order of a sum: pieces of a block, then blocks; it depends on K only.
#include <algorithm>

#include "core/cuda/launch.h"
#include "core/cuda/ptx.h"
#include "core/cuda/rows.cuh"
#include "ops/router_gemm/forms.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kBlocks = 8, kExperts = 16, kTokens = 16, kPiece = int(kRouterPiece);
constexpr int kMostWarps = int(kRouterMostDepth) / (kBlocks * kPiece);
constexpr int kRuns = kPiece / 32;                    // a thread's reads of 16 bytes of a row
constexpr int kShare = kExperts / kBlocks * kTokens;  // sums that a block ends

// Strides of x and w in bytes. What is wanted first, for the reads of w, comes first, and within 48 bytes with what x takes: a
// kernel's parameters come from a cache, and are waited for when a line of it is touched first.
struct Router {
  const char *w, *x;
  int64_t w_row, x_row;
  int experts, pieces, tokens;
  bool logits_are_bf16;
  void* logits;
  int64_t logits_row;
};

// Two rows of a matrix, eight apart, of which this thread has 16 bytes of every 64.
struct TwoRows {
  uint4 run[2][kRuns];

  __device__ void load(const char* from, int64_t eight_rows, bool first, bool second) {
#pragma unroll
    for (int i = 0; i < kRuns; ++i) {
      run[0][i] = first ? *reinterpret_cast<const uint4*>(from + i * 64) : uint4{};
      run[1][i] = second ? *reinterpret_cast<const uint4*>(from + eight_rows + i * 64) : uint4{};
    }
  }
};

// sum[c] is a fragment of 16 experts by 8 tokens.
__device__ void multiply(const TwoRows& w, const TwoRows& x, float (&sum)[2][4]) {
  float odd[2][4] = {};  // a chain of its own
#pragma unroll
  for (int i = 0; i < kRuns; ++i) {
    const uint4 &lower = w.run[0][i], &upper = w.run[1][i];
    const uint32_t even_a[4] = {lower.x, upper.x, lower.y, upper.y}, odd_a[4] = {lower.z, upper.z, lower.w, upper.w};
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      ptx::mma_m16n8k16_bf16(sum[c], even_a, x.run[c][i].x, x.run[c][i].y);
      ptx::mma_m16n8k16_bf16(odd[c], odd_a, x.run[c][i].z, x.run[c][i].w);
    }
  }
#pragma unroll
  for (int c = 0; c < 2; ++c)
#pragma unroll
    for (int j = 0; j < 4; ++j) sum[c][j] += odd[c][j];
}

struct Shared {
  float partial[kMostWarps][kExperts][kTokens];
  float arriving[kBlocks][kShare];
  uint64_t bar;

  // Halves of a row change places so that neither side has bank conflicts.
  __device__ static int place(int expert, int token) { return token ^ expert / 2 % 2 * 8; }
};

// Sums of the block's warps, each to the block of the cluster that has the expert.
__device__ void send_sums(Shared& shared, int rank, int warps) {
  for (int i = int(threadIdx.x); i < kExperts * kTokens / 2; i += int(blockDim.x)) {
    const int expert = i / (kTokens / 2), token = i % (kTokens / 2) * 2, at = Shared::place(expert, token);
    float2 total{};
#pragma unroll
    for (int w = 0; w < kMostWarps; ++w)
      if (w < warps) {
        const float2 more = *reinterpret_cast<const float2*>(&shared.partial[w][expert][at]);
        total.x += more.x, total.y += more.y;
      }
    constexpr int kOfBlock = kExperts / kBlocks;
    ptx::send_in_cluster(&shared.arriving[rank][expert % kOfBlock * kTokens + token], uint32_t(expert / kOfBlock), total.x, total.y,
                         &shared.bar);
  }
}

__global__ void __launch_bounds__(kMostWarps* kWarp, 2) router_gemm_kernel(const __grid_constant__ Router p) {
  __shared__ Shared shared;
  const int rank = int(blockIdx.x) % kBlocks, warp = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
  const int first_expert = int(blockIdx.x) / kBlocks * kExperts, first_token = int(blockIdx.y) * kTokens;
  const int piece = warp * kBlocks + rank, at = piece * kPiece * 2 + lane % 4 * 16, row = lane / 4;
  const bool here = piece < p.pieces;
  const int expert = first_expert + row, token = first_token + row;
  TwoRows w, x;
  w.load(p.w + expert * p.w_row + at, 8 * p.w_row, here && expert < p.experts, here && expert + 8 < p.experts);
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(&shared.bar, 1);
    ptx::fence_barrier_init();
    ptx::mbarrier_arrive_expect(&shared.bar, kBlocks * kShare * 4);
  }
  __syncwarp();
  ptx::cluster_arrive_relaxed();
  ptx::cluster_wait();  // all of the cluster may be sent to
  wait_for_previous_kernel();
  x.load(p.x + token * p.x_row + at, 8 * p.x_row, here && token < p.tokens, here && token + 8 < p.tokens);
  float sum[2][4] = {};
  multiply(w, x, sum);
#pragma unroll
  for (int c = 0; c < 2; ++c)
#pragma unroll
    for (int half = 0; half < 2; ++half)
      *reinterpret_cast<float2*>(&shared.partial[warp][row + 8 * half][Shared::place(row, lane % 4 * 2 + c * 8)]) =
          make_float2(sum[c][2 * half], sum[c][2 * half + 1]);
  __syncthreads();
  send_sums(shared, rank, int(blockDim.x) / kWarp);

  if (warp > 0) return;
  __syncwarp();  // all of this warp's messages are on their way
  ptx::mbarrier_wait(&shared.bar, 0);
  const int mine = lane % 2, my_token = lane / 2;
  float total = 0;
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) total += shared.arriving[b][mine * kTokens + my_token];
  const int to_expert = first_expert + rank * 2 + mine, to_token = first_token + my_token;
  if (to_expert >= p.experts || to_token >= p.tokens) return;
  const int64_t to = int64_t(to_token) * p.logits_row + to_expert;
  if (p.logits_are_bf16) static_cast<Bf16*>(p.logits)[to] = from_float<Bf16>(total);
  else static_cast<float*>(p.logits)[to] = total;
}

}  // namespace

Status router_gemm_sm90(Context& ctx, const RouterGemmArgs& a, std::byte*) {
  Router p{.w = static_cast<const char*>(a.w.data),
           .x = nullptr,
           .w_row = a.w.stride[0] * 2,
           .x_row = a.x.stride[0] * 2,
           .experts = int(a.w.shape[0]),
           .pieces = int(a.x.shape[1] / kPiece),
           .tokens = 0,
           .logits_are_bf16 = a.logits.dtype == DType::kBF16,
           .logits = nullptr,
           .logits_row = a.logits.stride[0]};
  constexpr int64_t kMostTokens = int64_t(65535) * kTokens;  // of a grid
  for (int64_t t = 0; t < a.x.shape[0]; t += kMostTokens) {
    p.tokens = int(std::min(a.x.shape[0] - t, kMostTokens));
    p.x = static_cast<const char*>(a.x.data) + t * p.x_row;
    p.logits = static_cast<char*>(a.logits.data) + t * p.logits_row * int64_t(dtype_size(a.logits.dtype));
    const LaunchShape shape{
        .grid = dim3(unsigned((p.experts + kExperts - 1) / kExperts * kBlocks), unsigned((p.tokens + kTokens - 1) / kTokens)),
        .block = unsigned(std::max(1, (p.pieces + kBlocks - 1) / kBlocks) * kWarp),
        .cluster = kBlocks,
        .dependent = true};
    SLUICE_RETURN_IF_ERROR(launch(ctx, router_gemm_kernel, shape, p));
  }
  return {};
}

}  // namespace sluice
