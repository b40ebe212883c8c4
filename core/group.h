// Several processes that compute one model together, each with a part of its heads and columns (docs/parallel.md).
//
// Ranks carry messages between them, in host memory; a Group adds up and gathers tensors where they lie. Every call of either is
// made by all ranks, in the same order.
#pragma once

#include <memory>
#include <vector>

#include "core/context.h"
#include "core/tensor.h"

namespace sluice {

class Ranks {
 public:
  virtual ~Ranks() = default;
  int rank() const { return rank_; }
  int size() const { return size_; }
  bool leads() const { return rank_ == 0; }

  // Rank 0's bytes to all. The others may wait long for it, and leave their core to others meanwhile.
  virtual Status broadcast(std::vector<std::byte>& bytes) = 0;
  // `bytes` of each rank, in the order of ranks, at all of them.
  virtual Status gather(const void* mine, size_t bytes, void* all) = 0;

  // Ok where it is so on all ranks, else the error of the first that has one.
  Status agree(const Status& mine);
  Result<int64_t> least(int64_t mine);

 protected:
  Ranks(int rank, int size) : rank_(rank), size_(size) {}

 private:
  int rank_, size_;
};

class Group {
 public:
  virtual ~Group() = default;
  int rank() const { return ranks_.rank(); }
  int size() const { return ranks_.size(); }

  // All in order of the context's stream, on contiguous tensors of the group's device.
  // x of f32 or bf16 becomes the sum of all ranks' x, in fp32 and the same bits everywhere where the implementation says so.
  virtual Status sum(Context& ctx, const Tensor& x) = 0;
  // all[r, ...] = rank r's part, f32.
  virtual Status gather(Context& ctx, const Tensor& part, const Tensor& all) = 0;
  // Rank 0's x to all.
  virtual Status broadcast(Context& ctx, const Tensor& x) = 0;

 protected:
  explicit Group(Ranks& ranks) : ranks_(ranks) {}
  Ranks& ranks_;
};

// On a context's device; all ranks make theirs at once. Over host memory sums go in order of ranks: the same bits everywhere.
Result<std::unique_ptr<Group>> make_group(Ranks& ranks, Context& ctx);

}  // namespace sluice
