// A block has up to 1024 units of a row: 16 bytes where the rows allow it, else one element.
#include "base/checked.h"
#include "core/cuda/launch.h"
#include "core/cuda/rows.cuh"
#include "ops/copy_rows/forms.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = 128, kOfThread = 8, kOfBlock = kThreads * kOfThread;

// Strides and lengths in units.
struct CopyRows {
  const void* x;
  void* out;
  const int32_t *from, *to;
  int64_t x_rows, out_rows, x_row, out_row, length;
  Divider row_blocks;
  uint32_t blocks_of_row;
};

template <class Unit>
__global__ void __launch_bounds__(kThreads) copy_rows_kernel(const __grid_constant__ CopyRows a) {
  wait_for_previous_kernel();
  const uint32_t i = a.row_blocks.divide(blockIdx.x);
  const int64_t from = a.from ? a.from[i] : int64_t(i), to = a.to ? a.to[i] : int64_t(i);
  if (from < 0 || to < 0 || from >= a.x_rows || to >= a.out_rows) return;
  const Unit* source = static_cast<const Unit*>(a.x) + from * a.x_row;
  Unit* place = static_cast<Unit*>(a.out) + to * a.out_row;
  const int64_t begin = int64_t(blockIdx.x - i * a.blocks_of_row) * kOfBlock + threadIdx.x;
  Unit unit[kOfThread];
#pragma unroll
  for (int j = 0; j < kOfThread; ++j)
    if (begin + j * kThreads < a.length) unit[j] = source[begin + j * kThreads];
#pragma unroll
  for (int j = 0; j < kOfThread; ++j)
    if (begin + j * kThreads < a.length) place[begin + j * kThreads] = unit[j];
}

template <class Unit>
Status copy_by(Context& ctx, const CopyRowsArgs& args) {
  const auto units = [&](int64_t elements) { return elements * int64_t(dtype_size(args.x.dtype)) / int64_t(sizeof(Unit)); };
  const int64_t count = rows_to_copy(args), length = units(args.x.dim(1)), blocks = ceil_div(length, int64_t(kOfBlock));
  if (count == 0 || length == 0) return {};
  const CopyRows a{.x = args.x.data,
                   .out = args.out.data,
                   .from = args.from.present() ? args.from.as<int32_t>() : nullptr,
                   .to = args.to.present() ? args.to.as<int32_t>() : nullptr,
                   .x_rows = args.x.dim(0),
                   .out_rows = args.out.dim(0),
                   .x_row = units(args.x.stride[0]),
                   .out_row = units(args.out.stride[0]),
                   .length = length,
                   .row_blocks = Divider(blocks),
                   .blocks_of_row = uint32_t(blocks)};
  return launch(ctx, copy_rows_kernel<Unit>, {.grid = unsigned(count * blocks), .block = kThreads, .dependent = true}, a);
}

}  // namespace

Status copy_rows_cuda(Context& ctx, const CopyRowsArgs& args, std::byte*) {
  const size_t size = dtype_size(args.x.dtype);
  if (size_t(args.x.dim(1)) * size % 16 == 0 && wide_runs(args.x) && wide_runs(args.out)) return copy_by<uint4>(ctx, args);
  switch (size) {
    case 1:
      return copy_by<uint8_t>(ctx, args);
    case 2:
      return copy_by<uint16_t>(ctx, args);
    case 4:
      return copy_by<uint32_t>(ctx, args);
    default:
      return copy_by<uint64_t>(ctx, args);
  }
}

}  // namespace sluice
