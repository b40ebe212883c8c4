#include "ops/state_quant/cases.h"
#include "ops/state_quant/state_quant.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

void add(Where where, const StateQuantCase& c) {
  const std::string label = std::to_string(c.states) + "x" + std::to_string(c.rows) + "x" + std::to_string(c.length);
  bench<StateQuantArgs>({"state_quant", label, where}, {state_quant_impls(), check_state_quant}, [=](Inputs& in) {
    const StateQuantArgs args{.x = in.normal(DType::kF32, {c.states, c.rows, c.length}),
                              .q = in.output(DType::kI8, {c.states, c.rows, c.length}),
                              .scale = in.output(DType::kF32, {c.states, c.rows}),
                              .error = in.output(DType::kF32, {c.states})};
    double bytes = 0;
    for (const Tensor* t : {&args.x, &args.q, &args.scale, &args.error}) bytes += double(t->bytes());
    return Call<StateQuantArgs>{.args = args, .work = {.bytes = bytes}, .outputs = {args.q, args.scale, args.error}, .limit = 1e-5};
  });
}

const bool registered = [] {
  add(Where::kBoth, kStateQuantBenchCases[0]), add(Where::kGpu, kStateQuantBenchCases[1]);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
