// A block has a part of one row of a tail; most have nothing to do, since a sequence that decodes ends a chunk once in 64 steps.
#include "base/checked.h"
#include "core/cuda/launch.h"
#include "core/cuda/rows.cuh"
#include "ops/conv_tail/forms.h"
#include "ops/gdn_chunk/gdn_chunk.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = 128, kOfThread = 8, kOfBlock = kThreads * kOfThread;

struct TailCall {
  const void* qkv;
  const float* ring;
  float* tail;
  const int32_t *cu_seqlens, *start, *slots;
  int64_t qkv_row, ring_slot, ring_row, tail_slot, tail_row;
  int64_t pool, channels, kept, ring_rows, row_blocks;
};

template <class X>
__global__ void __launch_bounds__(kThreads) conv_tail_kernel(const __grid_constant__ TailCall a) {
  wait_for_previous_kernel();
  const int64_t row = divide(blockIdx.x, a.row_blocks), b = divide(row, a.kept), i = row - b * a.kept;
  const int64_t slot = a.slots[b], start = a.start[b], first = a.cu_seqlens[b], rows = a.cu_seqlens[b + 1] - first;
  const int64_t end = (start + rows) / kChunk * kChunk;
  if (slot < 0 || slot >= a.pool || end == 0 || end < start || (end == start && rows > 0)) return;
  const int64_t p = end - a.kept + i;
  const float* ring = a.ring + slot * a.ring_slot + (p & (a.ring_rows - 1)) * a.ring_row;
  const X* qkv = static_cast<const X*>(a.qkv) + (first + p - start) * a.qkv_row;
  float* to = a.tail + slot * a.tail_slot + i * a.tail_row;
  const int64_t begin = (blockIdx.x - row * a.row_blocks) * kOfBlock + threadIdx.x;
#pragma unroll
  for (int j = 0; j < kOfThread; ++j)
    if (const int64_t c = begin + j * kThreads; c < a.channels) to[c] = p < start ? ring[c] : to_float(qkv[c]);
}

}  // namespace

Status conv_tail_cuda(Context& ctx, const ConvTailArgs& args, std::byte*) {
  TailCall a{.qkv = args.qkv.data,
             .ring = args.conv_ring.as<float>(),
             .tail = args.tail.as<float>(),
             .cu_seqlens = args.cu_seqlens.as<int32_t>(),
             .start = args.start.as<int32_t>(),
             .slots = args.slots.as<int32_t>(),
             .qkv_row = args.qkv.stride[0],
             .ring_slot = args.conv_ring.stride[0],
             .ring_row = args.conv_ring.stride[1],
             .tail_slot = args.tail.stride[0],
             .tail_row = args.tail.stride[1],
             .pool = args.tail.dim(0),
             .channels = args.tail.dim(2),
             .kept = args.tail.dim(1),
             .ring_rows = args.conv_ring.dim(1)};
  a.row_blocks = ceil_div(a.channels, int64_t(kOfBlock));
  const LaunchShape shape{.grid = unsigned(args.start.dim(0) * a.kept * a.row_blocks), .block = kThreads, .dependent = true};
  return visit_float(args.qkv, [&]<class X>(X*) { return launch(ctx, conv_tail_kernel<X>, shape, a); });
}

}  // namespace sluice
