// Pages of 64 tokens for the keys and values of full-attention layers, counted by their users.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "core/context.h"
#include "models/model.h"

namespace sluice {

class KvPool {
 public:
  static constexpr int64_t kPageTokens = 64;  // the delta layers' chunk, so that prefix cache nodes end on both

  // In the memory of a context's device; by default the CPU's.
  static Result<KvPool> create(const PoolSpec& spec, int64_t pages, const Context& where = {});
  // What a page takes in all layers.
  static size_t page_bytes(const PoolSpec& spec);

  // Adds pages to `pages` until they hold `tokens` tokens. All or none: kResourceExhausted leaves the list as it was.
  Status grow(std::vector<int32_t>& pages, int64_t tokens);
  void retain(int32_t page) {
    if (users_[size_t(page)]++ == 1 && cached_[size_t(page)]) --idle_;
  }
  int64_t users(int32_t page) const { return users_[size_t(page)]; }
  void release(std::vector<int32_t>& pages);
  // The prefix cache becomes a user, and no longer is one.
  void retain_for_cache(int32_t page);
  void release_from_cache(int32_t page);
  // Pages that the prefix cache alone uses.
  int64_t idle_pages() const { return idle_; }

  // For tests, as StatePool's.
  void poison_freed() { poison_ = true; }

  int64_t free_pages() const { return int64_t(free_.size()); }
  int64_t pages() const { return int64_t(users_.size()); }
  const std::vector<AttentionLayerCache>& layers() const { return layers_; }

 private:
  void poison(int32_t page);
  void release(int32_t page);

  Context where_;
  Buffer memory_;
  bool poison_ = false;
  std::vector<AttentionLayerCache> layers_;
  std::vector<int32_t> free_, users_;
  std::vector<bool> cached_;
  int64_t idle_ = 0;
};

}  // namespace sluice
