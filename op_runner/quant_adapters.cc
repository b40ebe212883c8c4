// Quantisation.
#include "op_runner/op_runner.h"
#include "ops/group_quant/group_quant.h"

namespace sluice {
namespace {

double code_at(const Tensor& q, int64_t i) { return q.dtype == DType::kI8 ? q.as<int8_t>()[i] : float(q.as<F8E4M3>()[i]); }

// The exponents' bytes by row and group, from the packed layout.
Status output_exponents(OpCall& call, GroupQuantArgs args) {
  const Tensor& q = args.out.q;
  const int64_t rows = q.dim(0), groups = q.dim(1) / args.out.group;
  const Tensor words = call.make(DType::kI32, {scale_elements(ScaleLayout::kPackedColumnTma, q, args.out.group)});
  args.out.scale = scale_tensor(words.data, ScaleLayout::kPackedColumnTma, q, args.out.group);
  SLUICE_RETURN_IF_ERROR(call.run(group_quant, args));
  const Tensor bytes = call.output("scale_ue8m0", DType::kU8, {rows, groups}), &scale = args.out.scale;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t g = 0; g < groups; ++g) {
      const auto word = uint32_t(scale.as<int32_t>()[r * scale.stride[0] + g / 4 * scale.stride[1]]);
      bytes.as<uint8_t>()[r * groups + g] = uint8_t(word >> g % 4 * 8);
    }
  return {};
}

Status run_group_quant(OpCall& call) {
  SLUICE_NEED(x, "x");
  if (x.rank != 2) return invalid("in.x has rank " + std::to_string(x.rank) + ", wanted 2");
  const int group = int(call.number("group", 128));
  if (group <= 0) return invalid("group is " + std::to_string(group));
  const bool silu_mul = call.flag("silu_mul", false), int8 = call.text("kind", "fp8") == "int8";
  const int64_t rows = x.dim(0), width = x.dim(1) / (silu_mul ? 2 : 1), groups = width / group;
  const GroupQuantArgs args{.x = x,
                            .out = {.q = call.output("q", int8 ? DType::kI8 : DType::kF8E4M3, {rows, width}),
                                    .scale = call.output("scale", DType::kF32, {rows, groups}),
                                    .group = group,
                                    .eps = float(call.number("eps", 1e-10)),
                                    .ue8m0 = call.flag("ue8m0", false)},
                            .silu_mul = silu_mul};
  SLUICE_RETURN_IF_ERROR(call.run(group_quant, args));
  const Tensor dequantised = call.output("dequantised", DType::kF32, {rows, width});
  for (int64_t i = 0; i < rows * width; ++i)
    dequantised.as<float>()[i] = float(code_at(args.out.q, i) * args.out.scale.as<float>()[i / group]);
  return args.out.ue8m0 ? output_exponents(call, args) : Status();
}

}  // namespace

std::vector<OpAdapter> quant_adapters() { return {{"group_quant", "group_quant", run_group_quant, {}}}; }

}  // namespace sluice
