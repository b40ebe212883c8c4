#include "ops/weight_quant/weight_quant.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

TEST(WeightQuant, RefusesBadArguments) {
  const Storage w(DType::kF32, {2, 64}), scale(DType::kBF16, {2, 2}), codes(DType::kI8, {2, 64}), words(DType::kI32, {2, 8}),
      short_codes(DType::kI8, {2, 40}), three(DType::kBF16, {2, 3});
  EXPECT_TRUE(check_weight_quant({.w = w, .codes = codes, .scale = scale}).ok());
  EXPECT_TRUE(check_weight_quant({.w = w, .codes = words, .scale = scale}).ok());
  EXPECT_EQ(check_weight_quant({.w = w, .codes = short_codes, .scale = scale}).message(),
            "weight_quant: codes has 40 weights a row, wanted a multiple of 32");
  EXPECT_EQ(check_weight_quant({.w = w, .codes = codes, .scale = three}).message(),
            "weight_quant: scale has shape [2, 3], wanted [2, 1] or [2, 64 / G] with G a multiple of 32");
}

}  // namespace
}  // namespace sluice
