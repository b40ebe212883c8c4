// The time of each tile of a form on a call (core/tile.h), measured on copies: the call's own memory, with its live state, is read
// once and never written.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "core/cuda/graph.h"
#include "core/impl.h"
#include "core/tile.h"

namespace sluice::cuda {

// Copies of tensors in the GPU's memory.
class Copies {
 public:
  // `tensor` becomes its copy, which lies as far from a multiple of 256 bytes. Made in the stream's order.
  Status replace(const Context& ctx, Tensor& tensor);

 private:
  std::vector<Buffer> memory_;
};

// The median time of a call in microseconds; work() launches it and does not wait.
Result<double> median_time(const Context& ctx, const std::function<Status()>& work);

struct TileTime {
  Tile tile;
  double us = 0;
};

// The tiles that fit the device, in the form's order.
template <class Args>
Result<std::vector<TileTime>> time_tiles(Context ctx, const std::string& op, const Impl<Args>& impl, Args args) {
  Copies copies;
  Status copied;
  each_tensor(args, [&](Tensor& t, GpuLayout = GpuLayout::kAsIs) {
    if (copied.ok()) copied = copies.replace(ctx, t);
  });
  SLUICE_RETURN_IF_ERROR(copied);
  std::vector<TileTime> times;
  const Tiles tiles = impl.tiles(args);
  for (const Tile& tile : tiles.all()) {
    if (tile.shared > ctx.gpu->shared_memory) continue;
    const TileChoices choice{{op + ":" + impl.name, tile.size}};
    ctx.tiles = &choice;
    SLUICE_ASSIGN_OR_RETURN(const double us, median_time(ctx, [&] { return run_impl(impl, ctx, args); }));
    times.push_back({tile, us});
  }
  return times;
}

}  // namespace sluice::cuda
