#include "ops/weight_quant/weight_quant.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

void add(const char* name, DType codes, int64_t group) {
  constexpr int64_t kN = 1024, kK = 1024;
  bench<WeightQuantArgs>({"weight_quant", name}, {weight_quant_impls().first(weight_quant_impls().size() - 1)}, [=](Inputs& in) {
    const Tensor words = in.output(DType::kF32, {kN, codes == DType::kI8 ? kK / 4 : kK / 8});  // memory for the codes
    const WeightQuantArgs args{.w = in.normal(DType::kBF16, {kN, kK}),
                               .codes = Tensor(words.data, codes, {kN, codes == DType::kI8 ? kK : kK / 8}),
                               .scale = in.output(DType::kBF16, {kN, group ? kK / group : 1})};
    return Call<WeightQuantArgs>{
        .args = args, .work = {.bytes = double(args.w.bytes() + args.codes.bytes() + args.scale.bytes())}, .outputs = {args.scale}};
  });
}

const bool registered = [] {
  add("int8", DType::kI8, 0), add("int8g32", DType::kI8, 32), add("int4g32", DType::kI32, 32), add("int4g128", DType::kI32, 128);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
