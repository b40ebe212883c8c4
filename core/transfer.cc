#include "core/transfer.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace sluice {
namespace {

class HostCarrier final : public TransferCarrier {
 public:
  Status carry(const TransferPiece& piece) override { return piece.read(piece.to()); }
  Status finish() override { return {}; }
};

// Hands out pieces in order, and gathers what came of them.
class Pieces {
 public:
  Pieces(std::span<const Transfer> transfers, size_t most) : transfers_(transfers), most_(most) {}

  // False when there is nothing left to do.
  bool take(TransferPiece& piece) {
    const std::scoped_lock lock(mutex_);
    while (next_ < transfers_.size() && offset_ == transfers_[next_].bytes) ++next_, offset_ = 0;
    if (next_ == transfers_.size() || !failure_.ok()) return false;
    const Transfer& t = transfers_[next_];
    piece = {&t, offset_, std::min(most_, t.bytes - offset_)};
    offset_ += piece.bytes;
    return true;
  }
  void carried(size_t bytes) {
    const std::scoped_lock lock(mutex_);
    done_ += bytes;
  }
  void ended(const Status& status) {
    {
      const std::scoped_lock lock(mutex_);
      if (failure_.ok()) failure_ = status;
      ++ended_;
    }
    changed_.notify_one();
  }
  Status wait(int threads, const std::function<void(size_t)>& show) {
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, std::chrono::milliseconds(50), [&] { return ended_ == threads; })) {
      const size_t done = done_;
      lock.unlock();
      if (show) show(done);
      lock.lock();
    }
    if (show) show(done_);
    return failure_;
  }

 private:
  const std::span<const Transfer> transfers_;
  const size_t most_;
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t next_ = 0, offset_ = 0;  // of the next piece
  size_t done_ = 0;
  int ended_ = 0;  // threads
  Status failure_;
};

Status carry(Pieces& pieces, const TransferOptions& options) {
  SLUICE_ASSIGN_OR_RETURN(const auto carrier, options.make_carrier());
  Status status;
  for (TransferPiece piece; status.ok() && pieces.take(piece);) {
    status = carrier->carry(piece);
    if (status.ok()) pieces.carried(piece.bytes);
  }
  const Status arrived = carrier->finish();  // also behind a failure: the carrier's memory may still be read
  return status.ok() ? arrived : status;
}

}  // namespace

Result<std::unique_ptr<TransferCarrier>> make_host_carrier() {
  return std::unique_ptr<TransferCarrier>(std::make_unique<HostCarrier>());
}

Status carry_all(std::span<const Transfer> transfers, const TransferOptions& options) {
  Pieces pieces(transfers, options.piece);
  std::vector<std::jthread> threads;
  for (int i = 0; i < options.threads; ++i) threads.emplace_back([&] { pieces.ended(carry(pieces, options)); });
  return pieces.wait(options.threads, options.show);
}

}  // namespace sluice
