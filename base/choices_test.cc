// What the variables of base/environment.h may say.
#include <gtest/gtest.h>
#include <stdlib.h>

#include "base/environment.h"

namespace sluice {
namespace {

TEST(ImplChoices, ReadsTheSetting) {
  for (const char* text : {"gdn_prefill:reference,matmul:cpu", "matmul:avx512,gdn_prefill:reference,matmul:cpu,"}) {
    const ImplChoices choices = *parse_impl_choices(text);  // the last of an operator counts
    ASSERT_EQ(choices.size(), 2u) << text;
    EXPECT_EQ(choices.at("gdn_prefill").impl, "reference") << text;
    EXPECT_EQ(choices.at("matmul").impl, "cpu") << text;
    EXPECT_TRUE(choices.at("matmul").strict) << text;
  }
  EXPECT_TRUE(parse_impl_choices("")->empty());
  for (const char* bad : {"matmul", ":cpu", "matmul:", ",", "matmul:cpu,,"}) {
    const auto parsed = parse_impl_choices(bad);
    ASSERT_FALSE(parsed.ok()) << bad;
    EXPECT_TRUE(parsed.status().message().starts_with("SLUICE_IMPL: '")) << parsed.status().message();
  }
}

TEST(TileChoices, ReadsTheSetting) {
  const TileChoices want{{"gdn_prefill:portable", 32}, {"gdn_prefill:portable_mma", 1}};
  EXPECT_EQ(*parse_tile_choices("gdn_prefill:portable:32,gdn_prefill:portable_mma:1"), want);
  EXPECT_TRUE(parse_tile_choices("")->empty());
  for (const char* bad : {"32", "portable:32", ":portable:32", "op::32", "op:portable:", "op:portable:x", "op:portable:3x",
                          "op:portable:0", "op:portable:-1", "op:portable:99999999999", "op:portable:1,,"}) {
    const auto parsed = parse_tile_choices(bad);
    ASSERT_FALSE(parsed.ok()) << bad;
    EXPECT_TRUE(parsed.status().message().starts_with("SLUICE_TILE: '")) << parsed.status().message();
  }
}

TEST(PdlChoice, ReadsTheSetting) {
  EXPECT_TRUE(parse_pdl_choice("1")->allows("gdn_step"));
  EXPECT_FALSE(parse_pdl_choice("0")->allows("gdn_step"));
  const PdlChoice two = *parse_pdl_choice("gdn_step,l2norm");
  EXPECT_TRUE(two.allows("gdn_step") && two.allows("l2norm"));
  EXPECT_FALSE(two.allows("gdn_decode"));
  EXPECT_EQ(parse_pdl_choice("").status().message(), "SLUICE_PDL is empty");
  EXPECT_EQ(parse_pdl_choice("a,,b").status().message(), "SLUICE_PDL: 'a,,b' names an operator that is empty");
}

TEST(Environment, HasAllOfThemOrTheFirstThatIsWrong) {
  struct Set {
    const char* name;
    Set(const char* n, const char* value) : name(n) { ::setenv(name, value, 1); }
    ~Set() { ::unsetenv(name); }
  };
  const auto message = [] { return read_environment().status().message(); };
  {
    const Set impl("SLUICE_IMPL", "matmul:cpu"), tile("SLUICE_TILE", "gdn_prefill:portable:32"), pdl("SLUICE_PDL", "0");
    const auto env = read_environment();
    ASSERT_TRUE(env.ok());
    EXPECT_EQ(env->impl.at("matmul").impl, "cpu");
    EXPECT_EQ(env->tile, (TileChoices{{"gdn_prefill:portable", 32}}));
    EXPECT_FALSE(env->pdl.allows("gdn_step"));
    {
      const Set wrong("SLUICE_PDL", "");
      EXPECT_EQ(message(), "SLUICE_PDL is empty");
    }
    {
      const Set wrong("SLUICE_TILE", "x");
      EXPECT_EQ(message(), "SLUICE_TILE: 'x' is not OPERATOR:FORM:SIZE");
    }
    const Set wrong("SLUICE_IMPL", "x");
    EXPECT_EQ(message(), "SLUICE_IMPL: 'x' is not OPERATOR:IMPLEMENTATION");
  }
  {
    const Set isa("SLUICE_ISA", "plain");
    const auto env = read_environment();
    ASSERT_TRUE(env.ok());
    EXPECT_EQ(env->isa, "plain");
    EXPECT_FALSE(env->cpu.avx2);
    const Set wrong("SLUICE_ISA", "sse9");
    EXPECT_EQ(message(), "SLUICE_ISA: 'sse9' is no instruction set");
  }
  const auto env = read_environment();
  ASSERT_TRUE(env.ok());
  EXPECT_EQ(env->isa, "");
  EXPECT_EQ(env->cpu.avx2, detect_cpu_features().avx2);
  EXPECT_TRUE(env->impl.empty() && env->tile.empty() && env->pdl.allows("gdn_step"));
}

}  // namespace
}  // namespace sluice
