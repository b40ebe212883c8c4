// Which tokens a request has used, for the penalties: kept as they come, so that a step does not count them again.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/sample/sample.h"

namespace sluice {

class TokenUses {
 public:
  // The prompt is all that is there when the answer begins. Ids are below `vocab`.
  TokenUses(int64_t vocab, std::span<const int32_t> prompt) : place_(size_t(vocab), -1) {
    for (const int32_t id : prompt) use_of(id).in_prompt = true;
  }
  void add_output(int32_t id) { ++use_of(id).out_count; }

  std::span<const TokenUse> all() const { return uses_; }

 private:
  TokenUse& use_of(int32_t id) {
    int32_t& place = place_[size_t(id)];
    if (place < 0) {
      place = int32_t(uses_.size());
      uses_.push_back({.id = id, .in_prompt = false, .out_count = 0});
    }
    return uses_[size_t(place)];
  }

  std::vector<int32_t> place_;  // by id: where it is in uses_, or -1
  std::vector<TokenUse> uses_;
};

}  // namespace sluice
