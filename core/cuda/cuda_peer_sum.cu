#include <cuda_bf16.h>

#include "base/checked.h"
#include "core/cuda/launch.h"
#include "core/cuda/peer_sum.h"

namespace sluice::cuda {
namespace {

// What a word carries: one fp32 number, or two of bf16.
struct OneF32 {
  float value;
  __device__ explicit OneF32(uint32_t bits) { value = __uint_as_float(bits); }
  __device__ void add(OneF32 o) { value += o.value; }
  __device__ uint32_t bits() const { return __float_as_uint(value); }
};
struct TwoBf16 {
  float low, high;
  __device__ explicit TwoBf16(uint32_t bits) { low = __uint_as_float(bits << 16), high = __uint_as_float(bits & 0xffff0000u); }
  __device__ void add(TwoBf16 o) { low += o.low, high += o.high; }
  __device__ uint32_t bits() const {
    const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return uint32_t(__bfloat16_as_ushort(both.x)) | uint32_t(__bfloat16_as_ushort(both.y)) << 16;
  }
};

// A word a thread. Accesses of the inboxes are volatile: other GPUs write there while this kernel runs.
template <class Numbers>
__global__ void __launch_bounds__(kPeerBlock)
    peer_sum_kernel(uint32_t* x, int words, const __grid_constant__ PeerInboxes inboxes, uint32_t* calls, int rank, int ranks) {
  wait_for_previous_kernel();
  const int i = int(blockIdx.x) * kPeerBlock + int(threadIdx.x);
  const uint32_t call = calls[blockIdx.x] + 1;  // all ranks make the same calls: their counters are alike
  const auto place = [&](int to, int from) -> volatile PeerWord* {
    return inboxes.of[to] + (int64_t(call & 1) * ranks + from) * kPeerWords + i;
  };
  if (i < words) {
    const uint32_t mine = x[i];
    const PeerWord sent = PeerWord(call) << 32 | mine;
    for (int r = 0; r < ranks; ++r)
      if (r != rank) *place(r, rank) = sent;
    const auto of_rank = [&](int r) {
      if (r == rank) return Numbers(mine);
      PeerWord came;
      do came = *place(rank, r);
      while (uint32_t(came >> 32) != call);
      return Numbers(uint32_t(came));
    };
    Numbers total = of_rank(0);
    for (int r = 1; r < ranks; ++r) total.add(of_rank(r));
    x[i] = total.bits();
  }
  __syncthreads();  // all have read the counter
  if (threadIdx.x == 0) calls[blockIdx.x] = call;
}

}  // namespace

Status launch_peer_sum(const Context& ctx, const Tensor& x, const PeerInboxes& inboxes, uint32_t* calls, int rank, int size) {
  const int words = int(x.bytes() / sizeof(uint32_t));
  const LaunchShape shape{.grid = unsigned(ceil_div(words, kPeerBlock)), .block = kPeerBlock, .dependent = true};
  const auto kernel = x.dtype == DType::kF32 ? peer_sum_kernel<OneF32> : peer_sum_kernel<TwoBf16>;
  return launch(ctx, kernel, shape, static_cast<uint32_t*>(x.data), words, inboxes, calls, rank, size);
}

}  // namespace sluice::cuda
