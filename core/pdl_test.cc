#include "core/pdl.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(Pdl, FromComputeCapability9On) {
  for (const auto& [major, yes] : {std::pair{7, false}, {8, false}, {9, true}, {10, true}, {12, true}}) {
    const Gpu gpu{.name = "Test GPU", .major = major};
    EXPECT_EQ(starts_early(&gpu).yes(), yes) << major;
  }
  const Gpu a100{.name = "A100", .major = 8};
  EXPECT_STREQ(starts_early(&a100).refusal, "this GPU is older than compute capability 9.0");
  EXPECT_FALSE(starts_early(nullptr).yes());
}

TEST(Pdl, ChecksTheChoice) {
  const PdlChoice two = *parse_pdl_choice("gdn_step,l2norm");
  const std::vector<OpInfo> ops{{"gdn_step", {}}};
  EXPECT_TRUE(check_pdl_choice(*parse_pdl_choice("gdn_step"), ops).ok());
  EXPECT_EQ(check_pdl_choice(two, ops).message(), "SLUICE_PDL: no operator is called 'l2norm'");
}

TEST(Pdl, HoldsForOneOperatorAtATime) {
  const PdlChoice choice{.all = false, .ops = {"a"}};
  Context ctx{.pdl = &choice};
  {
    const PdlScope a(ctx, "a");
    EXPECT_TRUE(ctx.dependent_launch);
    const PdlScope b(ctx, "b");  // an operator that another one calls
    EXPECT_FALSE(ctx.dependent_launch);
    const PdlScope again(ctx, "a");
    EXPECT_FALSE(ctx.dependent_launch);
  }
  EXPECT_TRUE(ctx.dependent_launch);
}

TEST(Pdl, ARefusedAttributeIsAPlainLaunchAndOneWarning) {
  std::vector<Fallback> fallbacks;
  const Context ctx{.fallbacks = &fallbacks};
  std::vector<bool> tried;
  bool refused = false;
  const auto old_driver = [&](bool dependent) {
    tried.push_back(dependent);
    return dependent ? Launched::kRefused : Launched::kYes;
  };
  for (int call = 0; call < 3; ++call) EXPECT_EQ(launch_as_asked(ctx, true, refused, old_driver), Launched::kYes);
  EXPECT_EQ(tried, (std::vector<bool>{true, false, false, false}));
  ASSERT_EQ(fallbacks.size(), 1u);
  EXPECT_EQ(fallbacks[0].calls, 3);
  EXPECT_EQ(fallbacks[0].wanted, "programmatic dependent launch");
}

TEST(Pdl, AFailureThatIsNotTheAttributesStaysOne) {
  std::vector<Fallback> fallbacks;
  const Context ctx{.fallbacks = &fallbacks};
  bool refused = false;
  const auto bad_grid = [](bool dependent) { return dependent ? Launched::kRefused : Launched::kFailed; };
  EXPECT_EQ(launch_as_asked(ctx, true, refused, bad_grid), Launched::kFailed);
  EXPECT_FALSE(refused);
  EXPECT_TRUE(fallbacks.empty());
  int calls = 0;
  const auto good = [&](bool dependent) { return ++calls, dependent ? Launched::kFailed : Launched::kYes; };
  EXPECT_EQ(launch_as_asked(ctx, false, refused, good), Launched::kYes);  // not wanted: never tried
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace sluice
