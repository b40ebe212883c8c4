// Many bytes on their way from files to where they are used: cut into pieces that several threads carry, each in its own way.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>

#include "base/status.h"

namespace sluice {

// Bytes that are to lie at `to`.
struct Transfer {
  size_t bytes = 0;
  void* to = nullptr;
  // Copies a stretch of them into memory of the host. Called by several threads at once.
  std::function<Status(size_t offset, size_t bytes, std::byte* into)> read;
};

struct TransferPiece {
  const Transfer* of = nullptr;
  size_t offset = 0, bytes = 0;
  std::byte* to() const { return static_cast<std::byte*>(of->to) + offset; }
  Status read(std::byte* into) const { return of->read(offset, bytes, into); }
};

// What one thread carries pieces by. Made and used in that thread.
class TransferCarrier {
 public:
  virtual ~TransferCarrier() = default;
  // The piece may still be on its way when this returns.
  virtual Status carry(const TransferPiece& piece) = 0;
  // Waits for all that is.
  virtual Status finish() = 0;
};

// Into memory of the host.
Result<std::unique_ptr<TransferCarrier>> make_host_carrier();

struct TransferOptions {
  int threads = 1;
  size_t piece = size_t(4) << 20;  // bytes at most
  std::function<Result<std::unique_ptr<TransferCarrier>>()> make_carrier = make_host_carrier;
  std::function<void(size_t done)> show;  // called by the caller's thread now and then, and at the end; bytes on their way included
};

// Everything has arrived when it returns. The first failure ends it and is what it returns.
Status carry_all(std::span<const Transfer> transfers, const TransferOptions& options);

}  // namespace sluice
