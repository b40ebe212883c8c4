// Sums over the GPUs of one machine in one kernel: each writes its numbers into the others' memory and adds up what came. Of a few
// kilobytes that is one way over NVLink, where a library's call has a handshake more.
#pragma once

#include <array>
#include <memory>

#include "core/group.h"

namespace sluice::cuda {

inline constexpr int kMostPeers = 8;
inline constexpr int64_t kPeerWords = int64_t(1) << 18;  // of 4 bytes, in one sum

// A word on its way: the number of the call that it belongs to above, what it carries below. It is written at once, so whoever sees
// the number has the rest.
using PeerWord = unsigned long long;

// Where rank r's words come in, as this GPU reaches it: [2, ranks, kPeerWords], calls taking turns. A sender is at most one call
// ahead of who reads, since it has waited for that one's words.
struct PeerInboxes {
  std::array<PeerWord*, kMostPeers> of{};
};

class PeerSum {
 public:
  // Null where one of the GPUs does not reach another's memory, on all ranks.
  static std::unique_ptr<PeerSum> create(Ranks& ranks, Context& ctx);
  ~PeerSum();

  bool serves(const Tensor& x) const;
  // Adds in order of ranks, in fp32: the same bits on all.
  Status sum(Context& ctx, const Tensor& x);

 private:
  PeerSum(int rank, int size) : rank_(rank), size_(size) {}
  Status open(Ranks& ranks, Context& ctx);

  int rank_, size_;
  Buffer mine_;  // the inbox, and behind it a counter of calls a block
  PeerInboxes inboxes_;
};

// The part that nvcc compiles. calls: one a block of kPeerBlock words.
inline constexpr int kPeerBlock = 256;
Status launch_peer_sum(const Context& ctx, const Tensor& x, const PeerInboxes& inboxes, uint32_t* calls, int rank, int size);

}  // namespace sluice::cuda
