#include "core/cuda/tune.h"

#include <algorithm>

#include "base/median.h"
#include "core/cuda/memory.h"

namespace sluice::cuda {

Status Copies::replace(const Context& ctx, Tensor& tensor) {
  if (!tensor.present()) return {};
  constexpr size_t kAlignment = 256;  // bytes, what an allocation has
  const size_t bytes = tensor.span_bytes(), shift = reinterpret_cast<uintptr_t>(tensor.data) % kAlignment;
  if (bytes == 0) return {};
  SLUICE_ASSIGN_OR_RETURN(Buffer memory, allocate(bytes + shift));
  std::byte* copy = memory.data() + shift;
  SLUICE_RETURN_IF_ERROR(to_status(cudaMemcpyAsync(copy, tensor.data, bytes, cudaMemcpyDeviceToDevice, stream_of(ctx)),
                                   "copy of a tensor within the GPU"));
  memory_.push_back(std::move(memory));
  tensor.data = copy;
  return {};
}

Result<double> median_time(const Context& ctx, const std::function<Status()>& work) {
  constexpr int kWarmups = 2, kReplays = 9;
  SLUICE_ASSIGN_OR_RETURN(const Graph graph, Graph::capture(ctx, work));
  std::vector<double> us;
  for (int i = 0; i < kWarmups + kReplays; ++i) {
    SLUICE_ASSIGN_OR_RETURN(const double replay, graph.time(ctx));
    if (i >= kWarmups) us.push_back(replay);
  }
  return median(std::move(us));
}

}  // namespace sluice::cuda
