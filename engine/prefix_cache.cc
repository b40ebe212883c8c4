#include "engine/prefix_cache.h"

#include <algorithm>
#include <cassert>

namespace sluice {

size_t PrefixCache::Hash::operator()(const Key& key) const {
  uint64_t h = reinterpret_cast<uintptr_t>(key.parent);
  for (const int32_t token : key.tokens) h = (h ^ uint32_t(token)) * 0x9e3779b97f4a7c15u, h ^= h >> 29;
  return size_t(h);
}

PrefixCache::~PrefixCache() { clear(); }

void PrefixCache::clear() {
  while (evict_snapshot()) {
  }
  roots_.clear();
}

const PrefixCache::Node* PrefixCache::root(std::string_view salt) const {
  const auto it = roots_.find(salt);
  return it == roots_.end() ? nullptr : it->second.get();
}

PrefixCache::Node* PrefixCache::child(const Node* parent, std::span<const int32_t> page) const {
  Key key{parent, {}};
  std::ranges::copy(page, key.tokens.begin());
  const auto it = nodes_.find(key);
  return it == nodes_.end() ? nullptr : it->second.get();
}

PrefixCache::Node* PrefixCache::add_child(Node* parent, std::span<const int32_t> tokens, int32_t page) {
  Key key{parent, {}};
  std::ranges::copy(tokens, key.tokens.begin());
  const auto it = nodes_.emplace(key, std::make_unique<Node>()).first;
  Node& node = *it->second;
  node.parent = parent, node.key = &it->first, node.depth = parent->depth + 1, node.page = page;
  ++parent->children;
  kv_.retain_for_cache(page);
  return &node;
}

PrefixCache::Match PrefixCache::find(std::string_view salt, std::span<const int32_t> tokens, int64_t most) {
  Match m;
  std::vector<int32_t> pages;
  Node* best = nullptr;
  const Node* at = root(salt);
  for (int64_t end = kPage; at && end <= std::min(most, int64_t(tokens.size())); end += kPage) {
    Node* next = child(at, tokens.subspan(size_t(end - kPage), kPage));
    if (!next) break;
    m.common = end;
    pages.push_back(next->page);
    if (next->snapshot >= 0) best = next;
    at = next;
  }
  if (!best) return m;
  set_worth(*best);
  m.length = best->depth * kPage, m.snapshot = best->snapshot;
  pages.resize(size_t(best->depth));
  m.pages = std::move(pages);
  return m;
}

void PrefixCache::count(int64_t hit, int64_t tokens) {
  ++counters_.queries, counters_.query_tokens += tokens;
  counters_.hits += hit > 0, counters_.hit_tokens += hit;
}

bool PrefixCache::has(std::string_view salt, std::span<const int32_t> tokens) const {
  const Node* at = root(salt);
  for (size_t end = kPage; at && end <= tokens.size(); end += kPage) at = child(at, tokens.subspan(end - kPage, kPage));
  return at && at->depth > 0 && at->snapshot >= 0;
}

void PrefixCache::insert(std::string_view salt, std::span<const int32_t> tokens, std::span<const int32_t> pages, int32_t snapshot) {
  assert(!tokens.empty() && tokens.size() % kPage == 0 && pages.size() * kPage >= tokens.size());
  Node* end = nullptr;
  if (!add_path(salt, tokens, pages, end)) {
    if (end) prune(end);
    return states_.release_snapshot(snapshot);
  }
  if (end->snapshot >= 0) states_.release_snapshot(snapshot);
  else end->snapshot = snapshot;
  set_worth(*end);
}

// False: there is no memory for all of it, and `end` is how far it came.
bool PrefixCache::add_path(std::string_view salt, std::span<const int32_t> tokens, std::span<const int32_t> pages, Node*& end) {
  try {
    auto top = roots_.find(salt);
    if (top == roots_.end()) top = roots_.emplace(salt, std::make_unique<Node>()).first;
    end = top->second.get();
    for (size_t i = 0; i * kPage < tokens.size(); ++i) {
      const auto part = tokens.subspan(i * kPage, kPage);
      Node* next = child(end, part);
      end = next ? next : add_child(end, part, pages[i]);
    }
    by_worth_.insert(worth_of(*end));
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

// Tokens from the nearest snapshot above, on top of the present age. The node is in by_worth_, and keeps its entry's memory.
void PrefixCache::set_worth(Node& node) {
  const Node* above = node.parent;
  while (above->parent && above->snapshot < 0) above = above->parent;
  auto entry = by_worth_.extract(worth_of(node));
  node.worth = age_ + double((node.depth - above->depth) * kPage);
  node.used = ++uses_;
  entry.value() = worth_of(node);
  by_worth_.insert(std::move(entry));
}

void PrefixCache::drop_snapshot(Node& node) {
  age_ = std::max(age_, node.worth);
  by_worth_.erase(worth_of(node));
  states_.release_snapshot(node.snapshot);
  node.snapshot = -1;
  ++counters_.evictions;
  prune(&node);
}

void PrefixCache::prune(Node* node) {
  while (node->parent && node->children == 0 && node->snapshot < 0) {
    Node* parent = node->parent;
    kv_.release_from_cache(node->page);
    --parent->children;
    nodes_.erase(nodes_.find(*node->key));
    node = parent;
  }
  if (!node->parent && node->children == 0) std::erase_if(roots_, [&](const auto& entry) { return entry.second.get() == node; });
}

bool PrefixCache::evict_snapshot() {
  if (by_worth_.empty()) return false;
  drop_snapshot(*std::get<Node*>(*by_worth_.begin()));
  return true;
}

// A leaf whose page only the cache holds frees it at once. Other leaves stand in the way of nothing: their pages are in use.
bool PrefixCache::evict_page() {
  for (const auto& [worth, used, node] : by_worth_)
    if (node->children == 0 && kv_.users(node->page) == 1) {
      drop_snapshot(*node);
      return true;
    }
  return false;
}

}  // namespace sluice
