// One request's tokens and what it occupies. Plain data; the engine's thread owns it.
#pragma once

#include <cstdint>
#include <vector>

namespace sluice {

struct Sequence {
  std::vector<int32_t> tokens;  // prompt and answer so far, computed or not
  std::vector<int32_t> drafts;  // guesses for the tokens that follow
  int64_t computed = 0;         // tokens whose state and keys are in the pools
  int64_t drafted = 1;          // positions below it have their row of the draft head; there is none at position 0
  int32_t slot = -1;            // in the StatePool
  std::vector<int32_t> pages;   // in the KvPool, in order of position

  int64_t length() const { return int64_t(tokens.size()); }
  int64_t pending() const { return length() - computed; }
  // Token at a position, the drafts behind the tokens.
  int32_t at(int64_t position) const {
    return position < length() ? tokens[size_t(position)] : drafts[size_t(position - length())];
  }
};

}  // namespace sluice
