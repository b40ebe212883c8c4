// One request's tokens and what it occupies. Plain data; the engine's thread owns it.
#pragma once

#include <cstdint>
#include <vector>

namespace sluice {

struct Sequence {
  std::vector<int32_t> tokens;  // prompt and answer so far, computed or not
  int64_t computed = 0;         // tokens whose state and keys are in the pools
  int32_t slot = -1;            // in the StatePool
  std::vector<int32_t> pages;   // in the KvPool, in order of position

  int64_t pending() const { return int64_t(tokens.size()) - computed; }
};

}  // namespace sluice
