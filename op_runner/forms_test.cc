// Which form of the gated delta operators comes first on a device; devices are made up.
#include <gtest/gtest.h>

#include "core/backend.h"
#include "core/impl.h"

namespace sluice {
namespace {

struct Row {
  int major, minor, cuda;
  const char* family;
};

constexpr Row kRows[] = {
    {8, 0, 13000, "portable"}, {9, 0, 12080, "sm90"},      {9, 0, 13000, "sm90"},   {10, 0, 12080, "portable"},
    {10, 0, 13000, "sm100"},   {10, 3, 12080, "portable"}, {10, 3, 13000, "sm100"}, {12, 0, 13000, "portable"},
};

// The operators that the flags of a backend choose for, and gdn_close, which follows them.
bool is_gated_delta(const std::string& op) {
  return op == "gdn_prefill" || op == "gdn_decode" || op == "gdn_decode_classic" || op == "gdn_verify" || op == "gdn_step" ||
         op == "gdn_close";
}

TEST(Forms, TheFirstThatADeviceHasIsTheOneThatTheFlagsResolveTo) {
  const CpuFeatures cpu;
  for (const Row& r : kRows) {
    const Gpu gpu{.name = "Test GPU", .major = r.major, .minor = r.minor, .cuda_version = r.cuda};
    const auto plan = choose_backends({}, &gpu);
    ASSERT_TRUE(plan.ok());
    EXPECT_EQ(plan->prefill, r.family);
    EXPECT_EQ(plan->decode, r.family);
    int ops = 0;
    for (const OpInfo& op : all_ops()) {
      if (!is_gated_delta(op.name)) continue;
      const auto first = std::ranges::find_if(op.impls, [&](const ImplInfo& i) { return machine_has(cpu, &gpu, i.isa).yes(); });
      ASSERT_NE(first, op.impls.end()) << op.name;
      EXPECT_TRUE(is_choice(ImplChoice(r.family, false), first->name))
          << op.name << " on " << r.major << "." << r.minor << ", CUDA " << cuda_version_text(r.cuda) << ": " << first->name;
      ++ops;
    }
    EXPECT_EQ(ops, 6);
  }
}

// And their lists have it whatever the build.
TEST(Forms, WhatBatchInvariantChoosesIsThere) {
  ImplChoices choices;
  ASSERT_TRUE(choose_invariant_forms({DeviceKind::kCuda, 0}, choices).ok());
  for (const auto& [name, choice] : choices) {
    const std::vector<OpInfo> ops = all_ops();
    const auto op = std::ranges::find_if(ops, [&](const OpInfo& o) { return name == o.name; });
    ASSERT_NE(op, ops.end()) << name;
    EXPECT_TRUE(std::ranges::any_of(op->impls, [&](const ImplInfo& i) { return is_gpu(i.isa) && is_choice(choice, i.name); }))
        << name;
  }
}

}  // namespace
}  // namespace sluice
