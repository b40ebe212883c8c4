#include "engine/kv_pool.h"

#include <algorithm>
#include <cassert>

#include "base/checked.h"
#include "core/memory.h"

namespace sluice {

size_t KvPool::page_bytes(const PoolSpec& spec) {
  return size_t(2 * spec.attention_layers * kPageTokens * spec.kv_heads * spec.head_dim) * dtype_size(spec.kv_dtype);
}

Result<KvPool> KvPool::create(const PoolSpec& spec, int64_t pages, const Context& where) {
  KvPool p;
  p.where_ = where;
  const size_t layer = page_bytes(spec) / 2 / size_t(std::max<int64_t>(spec.attention_layers, 1)) * size_t(pages);
  SLUICE_ASSIGN_OR_RETURN(p.memory_, allocate_memory(p.where_, 2 * layer * size_t(spec.attention_layers)));
  std::byte* at = p.memory_.data();
  for (int64_t l = 0; l < spec.attention_layers; ++l, at += 2 * layer) {
    const std::initializer_list<int64_t> dims{pages, kPageTokens, spec.kv_heads, spec.head_dim};
    p.layers_.push_back(
        {.k = Tensor(at, spec.kv_dtype, dims, where.device), .v = Tensor(at + layer, spec.kv_dtype, dims, where.device)});
  }
  for (int64_t i = pages - 1; i >= 0; --i) p.free_.push_back(int32_t(i));
  p.users_.assign(size_t(pages), 0);
  p.cached_.assign(size_t(pages), false);
  return p;
}

Status KvPool::grow(std::vector<int32_t>& pages, int64_t tokens) {
  const int64_t missing = ceil_div(tokens, kPageTokens) - int64_t(pages.size());
  if (missing > free_pages())
    return {Code::kResourceExhausted,
            "the KV cache has " + std::to_string(free_pages()) + " of " + std::to_string(this->pages()) + " pages left, " +
                std::to_string(missing) + " are needed",
            "raise --max-context"};
  for (int64_t i = 0; i < missing; ++i) {
    pages.push_back(free_.back());
    free_.pop_back();
    users_[pages.back()] = 1;
  }
  return {};
}

void KvPool::poison(int32_t page) {
  for (const AttentionLayerCache& layer : layers_)
    for (const Tensor& t : {layer.k, layer.v}) (void)fill_memory(where_, t[page].data, 0xff, t[page].bytes());
}

void KvPool::release(std::vector<int32_t>& pages) {
  for (const int32_t page : pages) release(page);
  pages.clear();
}

void KvPool::release(int32_t page) {
  assert(users_[page] > 0);
  if (--users_[page] == 1 && cached_[page]) ++idle_;
  if (users_[page] > 0) return;
  free_.push_back(page);
  if (poison_) poison(page);
}

void KvPool::retain_for_cache(int32_t page) {
  assert(!cached_[page] && users_[page] > 0);
  cached_[page] = true;
  ++users_[page];
}

void KvPool::release_from_cache(int32_t page) {
  assert(cached_[page]);
  if (users_[page] == 1) --idle_;
  cached_[page] = false;
  release(page);
}

}  // namespace sluice
