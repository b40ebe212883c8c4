#include "engine/token_uses.h"

#include <gtest/gtest.h>

#include <tuple>

namespace sluice {
namespace {

using Use = std::tuple<int32_t, bool, int32_t>;

std::vector<Use> uses(const TokenUses& u) {
  std::vector<Use> r;
  for (const TokenUse& t : u.all()) r.emplace_back(t.id, t.in_prompt, t.out_count);
  return r;
}

TEST(TokenUses, EachTokenOnce) {
  const std::vector<int32_t> prompt{5, 0, 5, 9};
  TokenUses u(10, prompt);
  EXPECT_EQ(uses(u), (std::vector<Use>{{5, true, 0}, {0, true, 0}, {9, true, 0}}));
  for (const int32_t id : {9, 3, 3}) u.add_output(id);
  EXPECT_EQ(uses(u), (std::vector<Use>{{5, true, 0}, {0, true, 0}, {9, true, 1}, {3, false, 2}}));
}

TEST(TokenUses, NothingUsed) { EXPECT_TRUE(TokenUses(1, {}).all().empty()); }

}  // namespace
}  // namespace sluice
