// Host tensors on a GPU for one call: their twins in its memory, and the way back. For tests, `sluice op` and oracle_tests; the
// engine keeps its tensors where they are used.
//
//   staged(ctx, args, [&](const Args& on_gpu) { return run_impl(impl, ctx, on_gpu); });
#pragma once

#include <vector>

#include "core/buffer.h"
#include "core/context.h"
#include "core/tensor.h"

namespace sluice::cuda {

// Tensors that share memory on the host share it on the GPU. A twin has its host's address modulo 64, its strides and, between its
// rows, its host's bytes; around it lie margins of 0xff, and download() fails where a kernel wrote into one. A tensor with swapped
// dimensions is laid out anew, gaps 0xff.
class Staging {
 public:
  explicit Staging(Device device) : device_(device) {}

  // `tensor` is replaced by upload(). It must stay where it is until then.
  void add(Tensor& tensor, GpuLayout layout = GpuLayout::kAsIs);
  Status upload();
  // Waits for the GPU and copies everything back to the host.
  Status download();

 private:
  struct Entry {
    Tensor* tensor;
    Tensor host;
    GpuLayout layout;
    size_t block = 0;
  };
  struct Block {
    std::byte *begin, *end;        // on the host; for a swapped tensor, of `image`
    std::vector<std::byte> image;  // a swapped tensor's contents in the GPU's order
    Buffer memory;
    size_t shift = 0;  // of the contents in `memory`, bytes
    std::byte* twin() const { return memory.data() + shift; }
    size_t bytes() const { return size_t(end - begin); }
  };

  void join_overlapping();
  void lay_out_swapped(Entry& e);
  Status upload_block(Block& b);
  Status download_block(Block& b, std::vector<std::byte>& contents);

  Device device_;
  std::vector<Entry> entries_;
  std::vector<Block> blocks_;
};

// Calls run(args with all tensors on the GPU), waits, and copies everything back.
template <class Args, class Run>
Status staged(Context& ctx, Args args, Run&& run) {
  Staging staging(ctx.device);
  each_tensor(args, [&](Tensor& t, GpuLayout layout = GpuLayout::kAsIs) { staging.add(t, layout); });
  SLUICE_RETURN_IF_ERROR(staging.upload());
  const Status ran = run(static_cast<const Args&>(args));
  SLUICE_RETURN_IF_ERROR(ran);
  return staging.download();
}

}  // namespace sluice::cuda
