// Pages of 64 tokens for the keys and values of full-attention layers, counted by their users.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "core/buffer.h"
#include "models/model.h"

namespace sluice {

class KvPool {
 public:
  static constexpr int64_t kPageTokens = 64;  // the delta layers' chunk, so that prefix cache nodes end on both

  static Result<KvPool> create(const PoolSpec& spec, int64_t pages);

  // Adds pages to `pages` until they hold `tokens` tokens. All or none: kResourceExhausted leaves the list as it was.
  Status grow(std::vector<int32_t>& pages, int64_t tokens);
  void retain(int32_t page) { ++users_[size_t(page)]; }
  int64_t users(int32_t page) const { return users_[size_t(page)]; }
  void release(std::vector<int32_t>& pages);

  int64_t free_pages() const { return int64_t(free_.size()); }
  int64_t pages() const { return int64_t(users_.size()); }
  const std::vector<AttentionLayerCache>& layers() const { return layers_; }

 private:
  Buffer memory_;
  std::vector<AttentionLayerCache> layers_;
  std::vector<int32_t> free_, users_;
};

}  // namespace sluice
