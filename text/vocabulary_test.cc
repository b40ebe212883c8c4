#include "text/vocabulary.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(Vocabulary, SpellingsOutsideOfTheByteAlphabetAreLiteral) {
  Vocabulary v;
  EXPECT_EQ(v.find_bytes("a"), -1);
  ASSERT_TRUE(v.add("\u0120a", 0).ok());  // a space and a
  ASSERT_TRUE(v.add(" a", 1).ok());
  ASSERT_TRUE(v.add("\u20ac", 2).ok());
  ASSERT_TRUE(v.add("\u00ad", 3).ok());
  EXPECT_EQ(v.bytes(0), v.bytes(1));
  EXPECT_EQ(v.find_bytes(" a"), 0);
  EXPECT_EQ(v.find_spelling("\u0120a"), 0);
  EXPECT_EQ(v.find_spelling(" a"), 1);
  EXPECT_EQ(v.find_spelling("\u20ac"), 2);
  EXPECT_EQ(v.find_bytes("\u20ac"), -1);
  for (const char* none : {"", "a", "a ", "\u0120", "\u20ad", "\xff"}) EXPECT_EQ(v.find_spelling(none), -1) << none;
  for (int32_t id = 0; id < 4; ++id) EXPECT_EQ(v.is_literal(id), id > 0) << id;
  EXPECT_EQ(v.add(" a", 4).message(), "token ' a' has id 4 and id 1, wanted each token once");
  EXPECT_EQ(v.size(), 4);
  std::string bytes = "x";
  EXPECT_FALSE(decode_byte_alphabet("ab\u20ac", bytes));
  EXPECT_EQ(bytes, "x");
}

}  // namespace
}  // namespace sluice
