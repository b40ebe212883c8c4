#include "core/cuda/peer_sum.h"

#include <cuda_runtime_api.h>

#include "core/cuda/memory.h"
#include "core/cuda/status.h"
#include "core/memory.h"

namespace sluice::cuda {
namespace {

size_t inbox_bytes(int size) { return 2 * size_t(size) * size_t(kPeerWords) * sizeof(PeerWord); }

}  // namespace

std::unique_ptr<PeerSum> PeerSum::create(Ranks& ranks, Context& ctx) {
  std::unique_ptr<PeerSum> sum(new PeerSum(ranks.rank(), ranks.size()));
  const Status opened = sum->open(ranks, ctx);
  return ranks.agree(opened).ok() ? std::move(sum) : nullptr;
}

// As far as the ranks meet, all of them get, whatever fails before.
Status PeerSum::open(Ranks& ranks, Context& ctx) {
  const size_t bytes = inbox_bytes(size_) + size_t(kPeerWords / kPeerBlock) * sizeof(uint32_t);
  const auto prepare = [&](cudaIpcMemHandle_t& handle) -> Status {
    if (size_ > kMostPeers) return {Code::kUnsupported, "more ranks than peers"};
    SLUICE_ASSIGN_OR_RETURN(mine_, allocate_memory(ctx, bytes));
    SLUICE_RETURN_IF_ERROR(wait_for(ctx));  // it is zero before anyone writes
    return to_status(cudaIpcGetMemHandle(&handle, mine_.data()), "memory that other processes reach");
  };
  cudaIpcMemHandle_t handle{};
  const Status prepared = prepare(handle);
  std::vector<cudaIpcMemHandle_t> handles;
  handles.resize(size_t(size_));
  SLUICE_RETURN_IF_ERROR(ranks.gather(&handle, sizeof handle, handles.data()));
  SLUICE_RETURN_IF_ERROR(ranks.agree(prepared));
  for (int r = 0; r < size_; ++r) {
    void* there = mine_.data();
    if (r != rank_) {
      const cudaError_t e = cudaIpcOpenMemHandle(&there, handles[size_t(r)], cudaIpcMemLazyEnablePeerAccess);
      if (e != cudaSuccess) cudaGetLastError();  // clears it: there is another way
      SLUICE_RETURN_IF_ERROR(to_status(e, "memory of another process"));
    }
    inboxes_.of[size_t(r)] = static_cast<PeerWord*>(there);
  }
  return {};
}

PeerSum::~PeerSum() {
  for (int r = 0; r < size_ && r < kMostPeers; ++r)
    if (r != rank_ && inboxes_.of[size_t(r)]) cudaIpcCloseMemHandle(inboxes_.of[size_t(r)]);
}

// Everything goes to every other rank: beyond some size NCCL's ways are shorter.
bool PeerSum::serves(const Tensor& x) const {
  return (x.dtype == DType::kF32 || x.dtype == DType::kBF16) && x.bytes() % sizeof(uint32_t) == 0 &&
         int64_t(x.bytes() / sizeof(uint32_t)) * (size_ - 1) <= kPeerWords;
}

Status PeerSum::sum(Context& ctx, const Tensor& x) {
  auto* calls = reinterpret_cast<uint32_t*>(mine_.data() + inbox_bytes(size_));
  return launch_peer_sum(ctx, x, inboxes_, calls, rank_, size_);
}

}  // namespace sluice::cuda
