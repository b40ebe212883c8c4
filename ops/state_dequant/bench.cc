#include "ops/state_dequant/state_dequant.h"
#include "ops/state_quant/cases.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

void add(Where where, const StateQuantCase& c) {
  const std::string label = std::to_string(c.states) + "x" + std::to_string(c.rows) + "x" + std::to_string(c.length);
  std::vector<int8_t> codes(size_t(c.states * c.rows * c.length));
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = int8_t(i * 7919 % 255 - 127);
  bench<StateDequantArgs>(
      {"state_dequant", label, where}, {state_dequant_impls(), check_state_dequant}, [c, codes = std::move(codes)](Inputs& in) {
        const StateDequantArgs args{.q = in.of(codes).reshape({c.states, c.rows, c.length}),
                                    .scale = in.normal(DType::kF32, {c.states, c.rows}),
                                    .x = in.output(DType::kF32, {c.states, c.rows, c.length})};
        double bytes = 0;
        for (const Tensor* t : {&args.q, &args.scale, &args.x}) bytes += double(t->bytes());
        return Call<StateDequantArgs>{.args = args, .work = {.bytes = bytes}, .outputs = {args.x}, .limit = 1e-7};
      });
}

const bool registered = [] {
  add(Where::kBoth, kStateQuantBenchCases[0]), add(Where::kGpu, kStateQuantBenchCases[1]);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
