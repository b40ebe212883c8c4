#include "tests/dependent_launch/chain.h"

#include <vector>

#include "core/cuda/graph.h"
#include "core/cuda/memory.h"

namespace sluice::dependent_launch {
namespace {

using cuda::to_status;

// On the call's own stream, which waits for no other one; nor does a copy within the GPU's memory make the host wait.
Status copy_bytes(const Context& ctx, void* to, const void* from, size_t bytes) {
  return to_status(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, cuda::stream_of(ctx)), "copy of a chain's memory");
}

}  // namespace

Result<Log> run_chain(Context ctx, std::span<const Span> work, const std::function<Status(Context&)>& call, int replays,
                      bool last_waits) {
  std::vector<Piece> pieces;
  size_t total = 0;
  for (const Span& s : work) {
    pieces.push_back({s.at, s.bytes, total});
    total += s.bytes;
  }
  SLUICE_ASSIGN_OR_RETURN(Buffer before, cuda::allocate(total + 1));
  SLUICE_ASSIGN_OR_RETURN(Buffer after, cuda::allocate(total + 1));
  SLUICE_ASSIGN_OR_RETURN(Buffer table, cuda::allocate(pieces.size() * sizeof(Piece) + 1));
  SLUICE_ASSIGN_OR_RETURN(Buffer log, cuda::allocate(sizeof(Log)));
  const auto keep = [&](Buffer& all) -> Status {
    for (const Piece& p : pieces) SLUICE_RETURN_IF_ERROR(copy_bytes(ctx, all.data() + p.offset, p.at, p.bytes));
    return {};
  };
  const auto finished = [&] { return to_status(cudaStreamSynchronize(cuda::stream_of(ctx)), "a chain of launches"); };
  Log start;
  SLUICE_RETURN_IF_ERROR(copy_bytes(ctx, log.data(), &start, sizeof start));
  SLUICE_RETURN_IF_ERROR(copy_bytes(ctx, table.data(), pieces.data(), pieces.size() * sizeof(Piece)));
  SLUICE_RETURN_IF_ERROR(to_status(cudaDeviceSynchronize(), "a chain's inputs"));  // another stream may still be writing them
  SLUICE_RETURN_IF_ERROR(keep(before));
  Context plain = ctx;
  plain.dependent_launch = false;
  SLUICE_RETURN_IF_ERROR(call(plain));
  SLUICE_RETURN_IF_ERROR(keep(after));

  const Memory m{reinterpret_cast<const Piece*>(table.data()), int(pieces.size()), before.data(), after.data(),
                 reinterpret_cast<Log*>(log.data())};
  const auto chain = [&]() -> Status {
    SLUICE_RETURN_IF_ERROR(count_replay(ctx, m));
    SLUICE_RETURN_IF_ERROR(poison(ctx, m));
    SLUICE_RETURN_IF_ERROR(slow_kernel(ctx, m));
    SLUICE_RETURN_IF_ERROR(call(ctx));
    return last_kernel(ctx, m, last_waits);
  };
  SLUICE_ASSIGN_OR_RETURN(const cuda::Graph graph, cuda::Graph::capture(ctx, chain));
  for (int i = 0; i < replays; ++i) SLUICE_RETURN_IF_ERROR(graph.launch(ctx));
  for (int i = 0; i < replays / 10; ++i) SLUICE_RETURN_IF_ERROR(chain());
  Log found;
  SLUICE_RETURN_IF_ERROR(copy_bytes(ctx, &found, log.data(), sizeof found));
  SLUICE_RETURN_IF_ERROR(finished());
  return found;
}

}  // namespace sluice::dependent_launch
