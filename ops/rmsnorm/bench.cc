#include "ops/rmsnorm/cases.h"
#include "ops/rmsnorm/rmsnorm.h"
#include "tests/support/op_bench.h"

namespace sluice {
namespace {

struct Memory {
  std::vector<float> x, residual, y;
  std::vector<Bf16> weight, y_bf16;
};

// A layer's: x and the residual are replaced. With `quantised`, codes and scales in place of y.
void add_on_gpu(const RmsnormCase& c, bool quantised) {
  using namespace benching;
  const std::string label = std::to_string(c.rows) + "x" + std::to_string(c.dim) + (quantised ? "/add to fp8" : "/add");
  bench<RmsnormArgs>({"rmsnorm", label, Where::kGpu}, {rmsnorm_impls(), check_rmsnorm}, [=](Inputs& in) {
    const Tensor x = in.normal(DType::kBF16, {c.rows, c.dim}), residual = in.normal(DType::kBF16, {c.rows, c.dim});
    RmsnormArgs args{.x = x,
                     .residual = residual,
                     .weight = in.normal(DType::kBF16, {c.dim}),
                     .residual_out = in.output(DType::kBF16, {c.rows, c.dim})};
    if (quantised) {
      const Tensor q = in.output(DType::kF8E4M3, {c.rows, c.dim});
      const int64_t scales = scale_elements(ScaleLayout::kColumnMajorTma, q, args.quantised.group);
      args.quantised.q = q;
      args.quantised.scale =
          scale_tensor(in.output(DType::kF32, {scales}).data, ScaleLayout::kColumnMajorTma, q, args.quantised.group);
      args.quantised.scale.device = q.device;
    } else {
      args.y = in.output(DType::kBF16, {c.rows, c.dim});
    }
    return Call<RmsnormArgs>{.args = args,
                             .work = {.bytes = (quantised ? 7.0 : 8.0) * double(x.numel()), .flops = 5.0 * double(x.numel())},
                             .outputs = {quantised ? args.quantised.q : args.y, args.residual_out},
                             .weights = {args.weight}};
  });
}

void add_heads_on_gpu(int64_t tokens, int64_t heads, int64_t dim) {
  using namespace benching;
  const std::string label = std::to_string(tokens) + "x" + std::to_string(heads) + "x" + std::to_string(dim);
  bench<RmsnormArgs>({"rmsnorm", label, Where::kGpu}, {rmsnorm_impls(), check_rmsnorm}, [=](Inputs& in) {
    const RmsnormArgs args{.x = in.normal(DType::kBF16, {tokens, heads, dim}),
                           .weight = in.normal(DType::kBF16, {dim}),
                           .y = in.output(DType::kBF16, {tokens, heads, dim})};
    return Call<RmsnormArgs>{.args = args,
                             .work = {.bytes = 2.0 * double(args.x.bytes()), .flops = 4.0 * double(args.x.numel())},
                             .outputs = {args.y},
                             .weights = {args.weight}};
  });
}

const bool registered = [] {
  for (const RmsnormCase& c : kRmsnormGpuBenchCases) add_on_gpu(c, false);
  add_on_gpu({1, 0, 7168, 0}, true), add_on_gpu({4096, 0, 7168, 0}, true);
  add_heads_on_gpu(4096, 64, 128), add_heads_on_gpu(4096, 16, 256);
  for (const RmsnormCase& c : kRmsnormBenchCases) {
    const int64_t R = c.rows * (c.heads ? c.heads : 1), D = c.dim, n = R * D;
    auto m = std::make_shared<Memory>();
    m->x.assign(n, 0.5f), m->residual.assign(n, 0.0f), m->y.resize(n), m->weight.assign(D, Bf16(1.0f)), m->y_bf16.resize(n);
    const std::string label = std::to_string(R) + "x" + std::to_string(D);
    RmsnormArgs args{.x = Tensor::of(m->x.data(), {R, D}), .weight = Tensor::of(m->weight.data(), {D})};
    args.y = Tensor::of(m->y.data(), {R, D}), args.weight_offset = 1;
    benching::bench_impls("rmsnorm", label, rmsnorm_impls(), args, {.bytes = 8.0 * double(n), .flops = 4.0 * double(n)}, m);
    if (c.heads) continue;
    args.residual = args.residual_out = Tensor::of(m->residual.data(), {R, D}), args.y = Tensor::of(m->y_bf16.data(), {R, D});
    benching::bench_impls("rmsnorm", label + "_residual_to_bf16", rmsnorm_impls(), args,
                          {.bytes = 14.0 * double(n), .flops = 5.0 * double(n)}, m);
  }
  return true;
}();

}  // namespace
}  // namespace sluice
