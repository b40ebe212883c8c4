#include "core/cuda/group.h"

#include <algorithm>
#include <cstdlib>

#include "core/cuda/launch.h"
#include "core/cuda/peer_sum.h"
#if SLUICE_HAS_NCCL
#include <nccl.h>

#include "base/library.h"
#endif

namespace sluice::cuda {

#if SLUICE_HAS_NCCL
namespace {

// The functions that are called, and no others.
struct Nccl {
  decltype(&ncclGetUniqueId) make_id;
  decltype(&ncclCommInitRank) join;
  decltype(&ncclCommAbort) leave;
  decltype(&ncclAllReduce) sum;
  decltype(&ncclAllGather) gather;
  decltype(&ncclBroadcast) broadcast;
  decltype(&ncclGetErrorString) text_of;
};

Result<Nccl> load() {
  setenv("NCCL_NVLS_ENABLE", "0", 1);  // sums by NVLink's multicast hang on some machines
  // Its calls in graphs and outside of them come from one stream: they need no events between each other.
  setenv("NCCL_GRAPH_MIXING_SUPPORT", "0", 0);
  constexpr const char* kName = "libnccl.so.2";
  SLUICE_ASSIGN_OR_RETURN(Library library, Library::open({&kName, 1}, kName, "NCCL"));
  Nccl f{};
  library.find("ncclGetUniqueId", f.make_id)
      .find("ncclCommInitRank", f.join)
      .find("ncclCommAbort", f.leave)
      .find("ncclAllReduce", f.sum)
      .find("ncclAllGather", f.gather)
      .find("ncclBroadcast", f.broadcast)
      .find("ncclGetErrorString", f.text_of);
  SLUICE_RETURN_IF_ERROR(library.complete(kName));
  return f;
}

class NcclGroup final : public Group {
 public:
  NcclGroup(Ranks& ranks, const Nccl& nccl, ncclComm_t comm, std::unique_ptr<PeerSum> peers)
      : Group(ranks), nccl_(nccl), comm_(comm), peers_(std::move(peers)) {}
  ~NcclGroup() override { nccl_.leave(comm_); }

  Status sum(Context& ctx, const Tensor& x) override {
    if (peers_ && peers_->serves(x)) return peers_->sum(ctx, x);
    if (x.dtype != DType::kF32 && x.dtype != DType::kBF16)
      return {Code::kUnsupported, "a sum over ranks of " + std::string(dtype_name(x.dtype))};
    const ncclDataType_t type = x.dtype == DType::kF32 ? ncclFloat32 : ncclBfloat16;
    return done(nccl_.sum(x.data, x.data, size_t(x.numel()), type, ncclSum, comm_, stream_of(ctx)), "sum over GPUs");
  }
  Status gather(Context& ctx, const Tensor& part, const Tensor& all) override {
    return done(nccl_.gather(part.data, all.data, part.bytes(), ncclUint8, comm_, stream_of(ctx)), "gather from GPUs");
  }
  Status broadcast(Context& ctx, const Tensor& x) override {
    return done(nccl_.broadcast(x.data, x.data, x.bytes(), ncclUint8, 0, comm_, stream_of(ctx)), "broadcast to GPUs");
  }

 private:
  Status done(ncclResult_t r, const char* what) const {
    if (r == ncclSuccess) return {};
    return {Code::kDevice, std::string(what) + ": " + nccl_.text_of(r)};
  }
  const Nccl nccl_;
  ncclComm_t comm_;
  std::unique_ptr<PeerSum> peers_;  // null where GPUs do not reach each other's memory
};

}  // namespace

Result<std::unique_ptr<Group>> make_group(Ranks& ranks, Context& ctx) {
  const Result<Nccl> nccl = load();
  SLUICE_RETURN_IF_ERROR(ranks.agree(nccl.status()));
  ncclUniqueId id{};
  ncclResult_t made = ranks.leads() ? nccl->make_id(&id) : ncclSuccess;
  std::vector<ncclUniqueId> ids(size_t(ranks.size()));
  SLUICE_RETURN_IF_ERROR(ranks.gather(&id, sizeof id, ids.data()));
  ncclComm_t comm = nullptr;
  if (made == ncclSuccess) made = nccl->join(&comm, ranks.size(), ids[0], ranks.rank());
  if (made != ncclSuccess) return Status(Code::kDevice, std::string("NCCL's start: ") + nccl->text_of(made));
  std::unique_ptr<PeerSum> peers = PeerSum::create(ranks, ctx);
  return std::unique_ptr<Group>(std::make_unique<NcclGroup>(ranks, *nccl, comm, std::move(peers)));
}

#else

Result<std::unique_ptr<Group>> make_group(Ranks&, Context&) {
  return Status(Code::kUnsupported, "this program was built without NCCL: a model runs on one GPU",
                "install NCCL's header and build it again");
}

#endif

}  // namespace sluice::cuda
