// Times of a step from made-up records of a GPU's work.
#include "cli/step_times.h"

#include <gtest/gtest.h>

namespace sluice::cli {
namespace {

TEST(StepTimes, KernelsBelongToTheirOperators) {
  const std::pair<const char*, const char*> all[] = {
      {"void sluice::(anonymous namespace)::rmsnorm_kernel<float, sluice::Bf16, 1>(sluice::(anonymous namespace)::Norm)",
       "rmsnorm"},
      {"void sluice::(anonymous namespace)::gated_rmsnorm_kernel<4>(sluice::Call)", "gated_rmsnorm"},
      {"void sluice::gdn::tma::append_kernel<sluice::gdn::Shape<float, 4>, sluice::(anonymous namespace)::StepOp>(T2)", "gdn_step"},
      {"void sluice::gdn::tma::append_kernel<sluice::gdn::Shape<float, 4>, sluice::gdn::tma::RowsOp>(T2)", "gdn_decode"},
      {"void sluice::(anonymous namespace)::kv_append_kernel<sluice::Bf16>(sluice::(anonymous namespace)::Append)", "kv_append"},
      {"sluice::gdn_sm90::gdn_prefill_sm90_plan(sluice::gdn_sm90::Params)", "gdn_prefill"},
      {"void sluice::(anonymous namespace)::few_rows_kernel<1, 1>(sluice::cuda::Product)", "matmul"},
      {"void sluice::(anonymous namespace)::gqa_mma_kernel<256>(sluice::(anonymous namespace)::Call)", "attention"},
      {"nvjet_tst_128x256_64x4_2x1_v_bz_coopA_TNT", "matmul"},
      {"[copy]", "copy"},
      {"void other::strange_thing<int>(int)", "strange_thing"}};
  for (const auto& [kernel, op] : all) EXPECT_EQ(operator_of(kernel), op) << kernel;
}

const char kNorm[] = "rmsnorm_kernel()", kProduct[] = "few_rows_kernel()", kSilu[] = "silu_mul_kernel()";

TEST(StepTimes, OverlapsCountOnceAndGapsAreTheRest) {
  const StepTimes t = step_times({{kNorm, 10, 20}, {kProduct, 15, 40}, {kSilu, 18, 30}, {kProduct, 45, 50}});
  EXPECT_EQ(t.us, 40);
  EXPECT_EQ(t.gaps_us, 5);
  EXPECT_EQ(t.of("rmsnorm"), 10);
  EXPECT_EQ(t.of("matmul"), 25);  // 20 behind the norm's end, and 5
  EXPECT_EQ(t.of("silu_mul"), 0);
  EXPECT_EQ(t.launches(), 4);
  EXPECT_EQ(t.operators[0].op, "matmul");
}

TEST(StepTimes, LayersAreToldApart) {
  std::vector<DeviceWork> work{{"embed_kernel()", 0, 1}};
  const auto add = [&](const char* name, double us) { work.push_back({name, work.back().end, work.back().end + us}); };
  const auto mlp = [&] { add(kNorm, 1), add(kProduct, 10), add(kSilu, 2), add(kProduct, 10); };
  for (int i = 0; i < 3; ++i) {
    add(kNorm, 1), add(kProduct, 8), add("gdn::tma::append_kernel<StepOp>()", 4), add(kProduct, 5);
    mlp();
  }
  add(kNorm, 1), add(kProduct, 8), add(kNorm, 1), add("::gqa_mma_kernel<256>()", 100), add(kProduct, 5);
  mlp();
  add(kNorm, 1), add(kProduct, 50);  // the head
  const StepTimes t = step_times(work);
  EXPECT_EQ(t.gdn_layers, 3);
  EXPECT_EQ(t.gdn_layer_launches, 3 * 8);
  EXPECT_EQ(t.gdn_mixer_launches, 3 * 3);
  EXPECT_EQ(t.gdn_layers_us, 3 * 41);
  EXPECT_EQ(t.gdn_layers_matmul_us, 3 * 33);
  EXPECT_EQ(t.gaps_us, 0);
}

TEST(StepTimes, NothingTakesNoTime) { EXPECT_EQ(step_times({}).us, 0); }

}  // namespace
}  // namespace sluice::cli
