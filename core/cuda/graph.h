// A recorded sequence of launches that is replayed as one.
#pragma once

#include <utility>

#include "core/cuda/launch.h"

namespace sluice::cuda {

class Graph {
 public:
  Graph() = default;
  Graph(Graph&& o) noexcept : exec_(std::exchange(o.exec_, nullptr)) {}
  Graph& operator=(Graph&& o) noexcept {
    std::swap(exec_, o.exec_);
    return *this;
  }
  ~Graph() {
    if (exec_) cudaGraphExecDestroy(exec_);
  }

  // Records what `work()` launches on the context's stream; nothing runs yet. work() must not wait for the GPU.
  template <class Work>
  static Result<Graph> capture(const Context& ctx, Work&& work) {
    const cudaStream_t stream = stream_of(ctx);
    SLUICE_RETURN_IF_ERROR(
        to_status(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "start of a graph's capture"));
    const Status worked = work();
    cudaGraph_t graph = nullptr;
    const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
    Graph g;
    Status made = worked.ok() ? to_status(ended, "end of a graph's capture") : worked;
    if (made.ok()) made = to_status(cudaGraphInstantiate(&g.exec_, graph, 0), "instantiation of a graph");
    if (graph) cudaGraphDestroy(graph);
    if (!made.ok()) return made;
    return g;
  }

  // Microseconds of a replay.
  Result<double> time(const Context& ctx) const {
    cudaEvent_t begin = nullptr, end = nullptr;
    SLUICE_RETURN_IF_ERROR(to_status(cudaEventCreate(&begin), "cudaEventCreate"));
    SLUICE_RETURN_IF_ERROR(to_status(cudaEventCreate(&end), "cudaEventCreate"));
    float ms = 0;
    cudaEventRecord(begin, stream_of(ctx));
    const Status launched = launch(ctx);
    cudaEventRecord(end, stream_of(ctx));
    const cudaError_t e = cudaEventSynchronize(end);
    cudaEventElapsedTime(&ms, begin, end);
    cudaEventDestroy(begin), cudaEventDestroy(end);
    SLUICE_RETURN_IF_ERROR(launched);
    SLUICE_RETURN_IF_ERROR(to_status(e, "replay of a graph"));
    return 1e3 * double(ms);
  }

  Status launch(const Context& ctx) const { return to_status(cudaGraphLaunch(exec_, stream_of(ctx)), "launch of a graph"); }

 private:
  cudaGraphExec_t exec_ = nullptr;
};

}  // namespace sluice::cuda
