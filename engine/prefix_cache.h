// What requests have computed, for requests that begin alike: a tree over tokens in pages of 64, with state snapshots on it.
//
// A node is one page of tokens under the path that leads to it; it holds the keys and values of the page and, where a request
// left one, a snapshot of the state at the page's end. A hit ends at a snapshot. Each leaf has one, so that no page is kept that
// nobody can reach. Trees of different salts share nothing.
// What goes first is decided by Greedy-Dual (Young 1994; with costs, Cao and Irani 1997): a snapshot is worth the tokens that
// would have to be computed again without it, counted from the time it was last of use.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "engine/kv_pool.h"
#include "engine/state_pool.h"

namespace sluice {

class PrefixCache {
 public:
  PrefixCache(StatePool& states, KvPool& kv) : states_(states), kv_(kv) {}
  ~PrefixCache();
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  struct Match {
    int64_t length = 0;          // tokens up to the deepest snapshot, a multiple of 64
    int32_t snapshot = -1;       // the cache's own: resume from it before anything is evicted
    std::vector<int32_t> pages;  // of these tokens; retain() them to keep them
    int64_t common = 0;          // tokens in common with any request before: where a snapshot would have been of use
  };
  // The longest hit of at most `most` tokens. Counts as use.
  Match find(std::string_view salt, std::span<const int32_t> tokens, int64_t most);
  // For the counters: `hit` of a request's `tokens` tokens were there.
  void count(int64_t hit, int64_t tokens);
  // Whether a snapshot stands at the end of these tokens.
  bool has(std::string_view salt, std::span<const int32_t> tokens) const;
  // Adds the path of `tokens`, a multiple of 64 above 0, with a snapshot at its end, which becomes the cache's. Pages get one more
  // user where they are new. A snapshot that is there already is kept, and the new one released. Without memory for it nothing is
  // added, and the snapshot is released.
  void insert(std::string_view salt, std::span<const int32_t> tokens, std::span<const int32_t> pages, int32_t snapshot);

  // Gives up the snapshot of least worth; false where there is none.
  bool evict_snapshot();
  // Gives up snapshots of least worth until a page comes free; false where none would: the rest is in use by sequences.
  bool evict_page();
  void clear();

  struct Counters {
    int64_t queries = 0, hits = 0, hit_tokens = 0, query_tokens = 0, evictions = 0;
  };
  const Counters& counters() const { return counters_; }
  int64_t snapshots() const { return int64_t(by_worth_.size()); }
  int64_t pages() const { return int64_t(nodes_.size()); }
  // Pages that evict_page() could free: those without another user.
  int64_t evictable_pages() const { return kv_.idle_pages(); }

 private:
  static constexpr int64_t kPage = KvPool::kPageTokens;
  struct Node;
  struct Key {
    const Node* parent;
    std::array<int32_t, kPage> tokens;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    size_t operator()(const Key& key) const;
  };
  struct Node {
    Node* parent = nullptr;
    const Key* key = nullptr;
    int64_t depth = 0;  // pages from the root
    int32_t page = -1, snapshot = -1;
    int64_t children = 0;
    double worth = 0;
    uint64_t used = 0;  // when last; the longer ago of two that are worth the same goes first
  };
  using Worth = std::tuple<double, uint64_t, Node*>;
  static Worth worth_of(Node& node) { return {node.worth, node.used, &node}; }

  const Node* root(std::string_view salt) const;
  Node* child(const Node* parent, std::span<const int32_t> page) const;
  Node* add_child(Node* parent, std::span<const int32_t> tokens, int32_t page);
  bool add_path(std::string_view salt, std::span<const int32_t> tokens, std::span<const int32_t> pages, Node*& end);
  void set_worth(Node& node);
  void drop_snapshot(Node& node);
  // Removes leaves without a snapshot from `node` upwards.
  void prune(Node* node);

  StatePool& states_;
  KvPool& kv_;
  std::map<std::string, std::unique_ptr<Node>, std::less<>> roots_;  // by salt
  std::unordered_map<Key, std::unique_ptr<Node>, Hash> nodes_;
  std::set<Worth> by_worth_;  // nodes with a snapshot
  double age_ = 0;            // worth of what was evicted last
  uint64_t uses_ = 0;
  Counters counters_;
};

}  // namespace sluice
