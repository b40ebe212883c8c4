#include "ops/group_quant/cases.h"
#include "ops/group_quant/group_quant.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

constexpr int kGroup = 128;

// fp8 and its scales for rows like `q`'s.
QuantisedGroups output(Inputs& in, std::initializer_list<int64_t> shape, ScaleLayout layout) {
  const Tensor q = in.output(DType::kF8E4M3, shape);
  const bool packed = layout == ScaleLayout::kPackedColumnTma;
  const Tensor scales = in.output(packed ? DType::kI32 : DType::kF32, {scale_elements(layout, q, kGroup)});
  Tensor scale = scale_tensor(scales.data, layout, q, kGroup);
  scale.device = q.device;
  return {.q = q, .scale = scale, .group = kGroup, .ue8m0 = packed};
}

void add(Where where, const GroupQuantBenchCase& c, ScaleLayout layout, const char* layout_name) {
  const std::string label = std::to_string(c.tokens) + "x" + std::to_string(c.dim) + "/" + layout_name;
  bench<GroupQuantArgs>({"group_quant", label, where}, {group_quant_impls(), check_group_quant}, [=](Inputs& in) {
    const GroupQuantArgs args{.x = in.normal(DType::kBF16, {c.tokens, c.dim}), .out = output(in, {c.tokens, c.dim}, layout)};
    return Call<GroupQuantArgs>{.args = args,
                                .work = {.bytes = double(args.x.bytes() + args.out.q.bytes() + args.out.scale.bytes())},
                                .outputs = {args.out.q}};
  });
}

// Behind an expert's gate and up projections; of 1024 rows an expert has room for, few are taken.
void add_masked(int64_t experts, int32_t rows, int64_t dim) {
  const std::string label = std::to_string(experts) + "x" + std::to_string(rows) + "x" + std::to_string(dim) + "/masked silu_mul";
  bench<GroupQuantArgs>({"group_quant", label, Where::kGpu}, {group_quant_impls(), check_group_quant}, [=](Inputs& in) {
    constexpr int64_t kRoom = 1024;
    const GroupQuantArgs args{.x = in.normal(DType::kBF16, {experts, kRoom, 2 * dim}),
                              .masked_m = in.ints(std::vector<int32_t>(size_t(experts), rows)),
                              .out = output(in, {experts, kRoom, dim}, ScaleLayout::kColumnMajorTma),
                              .silu_mul = true};
    const double elements = double(experts * rows * dim);
    return Call<GroupQuantArgs>{
        .args = args, .work = {.bytes = elements * (5 + 4.0 / kGroup)}, .outputs = {args.out.q.slice(1, 0, rows)}};
  });
}

void add_silu_mul(Where where, const GroupQuantBenchCase& c) {
  const std::string label = std::to_string(c.tokens) + "x" + std::to_string(c.dim) + "/silu_mul";
  bench<GroupQuantArgs>({"group_quant", label, where}, {group_quant_impls(), check_group_quant}, [=](Inputs& in) {
    const GroupQuantArgs args{.x = in.normal(DType::kBF16, {c.tokens, 2 * c.dim}),
                              .out = output(in, {c.tokens, c.dim}, ScaleLayout::kColumnMajorTma),
                              .silu_mul = true};
    return Call<GroupQuantArgs>{.args = args,
                                .work = {.bytes = double(args.x.bytes() + args.out.q.bytes() + args.out.scale.bytes())},
                                .outputs = {args.out.q}};
  });
}

const bool registered = [] {
  for (const GroupQuantBenchCase& c : kGroupQuantBenchCases) add(Where::kBoth, c, ScaleLayout::kColumnMajorTma, "column");
  for (const GroupQuantBenchCase& c : kGroupQuantGpuBenchCases) add(Where::kGpu, c, ScaleLayout::kColumnMajorTma, "column");
  add(Where::kGpu, {4096, 7168}, ScaleLayout::kRowMajor, "row");
  add(Where::kGpu, {4096, 7168}, ScaleLayout::kPackedColumnTma, "packed");
  add_silu_mul(Where::kBoth, {256, 2048});
  add_silu_mul(Where::kGpu, {4096, 2048});
  for (const int64_t experts : {8, 16, 32}) add_masked(experts, 64, 2048);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
