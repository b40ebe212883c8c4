// Sequences that bench fills with made-up tokens.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "engine/engine.h"

namespace sluice::cli {

using Sequences = std::vector<std::unique_ptr<Sequence>>;

// Token ids that differ from each other, so that no embedding row stays in cache.
inline std::vector<int32_t> some_ids(int64_t count, int64_t vocab, int64_t seed) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(int32_t((i * 7919 + seed * 104729 + 17) % vocab));
  return ids;
}

// Brings `count` sequences of `depth` tokens into the pools.
inline Result<Sequences> open_at_depth(Engine& engine, int64_t count, int64_t depth) {
  Sequences sequences;
  for (int64_t i = 0; i < count; ++i) {
    SLUICE_ASSIGN_OR_RETURN(auto s, engine.open(some_ids(std::max<int64_t>(depth, 1), engine.model().config().vocab_size, i)));
    if (depth > 0) {
      const auto done = engine.prefill(*s);
      if (!done.ok()) return done.status();
    } else s->tokens.clear();
    sequences.push_back(std::move(s));
  }
  return sequences;
}

inline void close_all(Engine& engine, Sequences& sequences) {
  for (auto& s : sequences) engine.close(*s);
  sequences.clear();
}

}  // namespace sluice::cli
