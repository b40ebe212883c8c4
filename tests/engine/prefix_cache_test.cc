#include "engine/prefix_cache.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>
#include <set>

#include "tests/support/small_pools.h"

namespace sluice {
namespace {

// Page i of a path is 64 times its name, so that a path is a short text: "aab" has 192 tokens.
std::vector<int32_t> tokens(const std::string& path) {
  std::vector<int32_t> out;
  for (const char c : path) out.insert(out.end(), 64, c);
  return out;
}

class PrefixCacheTest : public ::testing::Test {
 protected:
  void make(int64_t slots, int64_t pages) {
    states = StatePool::create(testing::kSmallPools, slots).value(), kv = KvPool::create(testing::kSmallPools, pages).value();
    cache = std::make_unique<PrefixCache>(states, kv);
  }
  // What a request does that computes `path` and ends: false where the pools are full.
  bool remember(const std::string& path, const std::string& salt = "") {
    const auto slot = states.acquire();
    if (!slot.ok()) return false;
    std::vector<int32_t> own;
    if (!kv.grow(own, int64_t(path.size()) * 64).ok()) return states.release(*slot), false;
    cache->insert(salt, tokens(path), own, states.freeze(*slot).value());
    kv.release(own);
    return true;
  }
  int64_t hit(const std::string& path, int64_t most = 1 << 20) { return cache->find("", tokens(path), most).length / 64; }

  StatePool states;
  KvPool kv;
  std::unique_ptr<PrefixCache> cache;
};

TEST_F(PrefixCacheTest, HitsEndAtSnapshots) {
  make(8, 32);
  EXPECT_EQ(hit("abc"), 0);
  ASSERT_TRUE(remember("abcd"));
  EXPECT_EQ(hit("abcd"), 4);
  EXPECT_EQ(hit("abcde"), 4);
  EXPECT_EQ(hit("abcd", 255), 0) << "the only snapshot is at 256 tokens";
  const auto match = cache->find("", tokens("abcx"), 256);
  EXPECT_EQ(match.length, 0);
  EXPECT_EQ(match.common, 192) << "where a snapshot would be of use";
  ASSERT_TRUE(remember("abc"));
  EXPECT_EQ(hit("abcx"), 3);
  EXPECT_EQ(cache->find("", tokens("abcx"), 256).pages.size(), 3u);
  EXPECT_EQ(kv.pages() - kv.free_pages(), 4) << "a path's pages are kept once";
}

TEST_F(PrefixCacheTest, SaltsShareNothing) {
  make(8, 32);
  ASSERT_TRUE(remember("ab", "one"));
  EXPECT_EQ(cache->find("two", tokens("ab"), 128).common, 0);
  EXPECT_EQ(cache->find("one", tokens("ab"), 128).length, 128);
}

TEST_F(PrefixCacheTest, WhatIsLeastWorthGoesFirst) {
  make(8, 64);
  ASSERT_TRUE(remember("abcdefgh"));  // 8 pages to compute again
  ASSERT_TRUE(remember("x"));
  ASSERT_TRUE(remember("yz"));
  EXPECT_TRUE(cache->evict_snapshot());
  EXPECT_EQ(hit("x"), 0);
  EXPECT_EQ(hit("yz"), 2);
  // Use counts: what is asked for again and again outlives its likes, and in time what costs more and is never asked for.
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(remember(std::string(2, char('A' + i))));
    EXPECT_EQ(hit("yz"), 2);
    EXPECT_TRUE(cache->evict_snapshot());
  }
  EXPECT_EQ(hit("yz"), 2);
  EXPECT_EQ(hit("abcdefgh"), 0);
}

TEST_F(PrefixCacheTest, PagesOfRunningSequencesStay) {
  make(8, 16);
  ASSERT_TRUE(remember("abc"));
  auto held = cache->find("", tokens("abc"), 192).pages;
  for (const int32_t page : held) kv.retain(page);
  EXPECT_FALSE(cache->evict_page()) << "all of its pages are in use";
  EXPECT_EQ(cache->evictable_pages(), 0);
  EXPECT_EQ(hit("abc"), 3);
  kv.release(held);
  EXPECT_EQ(cache->evictable_pages(), 3);
  EXPECT_TRUE(cache->evict_page());
  EXPECT_EQ(kv.free_pages(), 16);
}

// Fault 32. What is freed becomes NaN, so that its use would be seen.
TEST_F(PrefixCacheTest, WhatIsEvictedInUseStaysUntilItIsGivenBack) {
  make(4, 8);
  states.poison_freed(), kv.poison_freed();
  ASSERT_TRUE(remember("ab"));
  auto match = cache->find("", tokens("ab"), 128);
  ASSERT_EQ(match.length, 128);
  float* const state = states.layers()[0].gdn.s[match.snapshot].as<float>();
  Bf16* const key = kv.layers()[0].k[match.pages[1]].as<Bf16>();
  state[5] = 42, key[7] = Bf16(43.0f);
  states.retain(match.snapshot);
  for (const int32_t page : match.pages) kv.retain(page);
  while (cache->evict_snapshot()) {
  }
  EXPECT_EQ(hit("ab"), 0);
  EXPECT_EQ(states.free_slots(), 3);
  EXPECT_EQ(kv.free_pages(), 6);
  for (int i = 0; i < 3; ++i) EXPECT_NE(states.acquire().value(), match.snapshot);
  std::vector<int32_t> others;
  ASSERT_TRUE(kv.grow(others, 6 * 64).ok());
  EXPECT_EQ(std::ranges::count(others, match.pages[1]), 0);
  EXPECT_EQ(state[5], 42);
  EXPECT_EQ(float(key[7]), 43);
  states.release_snapshot(match.snapshot);
  kv.release(match.pages);
  EXPECT_TRUE(std::isnan(state[5])) << "the poison works";
  EXPECT_TRUE(std::isnan(float(key[7])));
  EXPECT_EQ(states.acquire().value(), match.snapshot);
}

// Against the obvious: the cache's pages that have one user, counted, while sequences come and go and snapshots are evicted.
TEST_F(PrefixCacheTest, EvictablePagesAreThoseWithOneUser) {
  std::mt19937_64 rng(4);
  make(12, 40);
  std::vector<std::vector<int32_t>> held;
  std::set<std::string> paths;
  for (int i = 0; i < 5000; ++i) {
    std::string path;
    for (uint64_t n = 1 + rng() % 4; n > 0; --n) path += char('a' + rng() % 2);
    if (rng() % 4 == 0) cache->evict_snapshot();
    if (rng() % 4 == 0 && held.size() < 6) {
      held.push_back(cache->find("", tokens(path), int64_t(path.size()) * 64).pages);
      for (const int32_t page : held.back()) kv.retain(page);
    }
    if (rng() % 4 == 0 && !held.empty()) {
      std::swap(held.back(), held[rng() % held.size()]);
      kv.release(held.back());
      held.pop_back();
    }
    if (remember(path)) paths.insert(path);
    std::set<int32_t> of_cache;
    for (const std::string& p : paths)
      for (const int32_t page : cache->find("", tokens(p), int64_t(p.size()) * 64).pages) of_cache.insert(page);
    ASSERT_EQ(int64_t(of_cache.size()), cache->pages());
    ASSERT_EQ(cache->evictable_pages(), std::ranges::count_if(of_cache, [&](int32_t page) { return kv.users(page) == 1; }));
  }
}

// Against the obvious: the longest remembered beginning, kept in a map.
TEST_F(PrefixCacheTest, RandomUseAgainstAMap) {
  std::mt19937_64 rng(3);
  make(12, 40);
  std::map<std::string, bool> remembered;
  const auto random_path = [&] {
    std::string path;
    for (uint64_t n = 1 + rng() % 5; n > 0; --n) path += char('a' + rng() % 3);
    return path;
  };
  for (int i = 0; i < 20000; ++i) {
    const std::string path = random_path();
    switch (rng() % 6) {
      case 0:
        cache->evict_snapshot();
        break;
      case 1:
        cache->evict_page();
        break;
      case 2:
      case 3:
        if (remember(path)) remembered[path] = true;
        break;
      default: {
        const auto match = cache->find("", tokens(path), int64_t(path.size()) * 64);
        size_t longest = 0;
        for (size_t n = 1; n <= path.size(); ++n)
          if (remembered[path.substr(0, n)]) longest = n;
        ASSERT_EQ(match.length, int64_t(longest) * 64) << path;
        ASSERT_EQ(match.pages.size(), longest);
      }
    }
    for (auto& [name, there] : remembered) there = there && cache->has("", tokens(name));
    const int64_t count = std::ranges::count_if(remembered, [](const auto& entry) { return entry.second; });
    ASSERT_EQ(cache->snapshots(), count);
    ASSERT_EQ(states.slots() - states.free_slots(), count);
    ASSERT_EQ(kv.pages() - kv.free_pages(), cache->pages());
  }
  cache->clear();
  EXPECT_EQ(states.free_slots(), states.slots());
  EXPECT_EQ(kv.free_pages(), kv.pages());
}

}  // namespace
}  // namespace sluice
