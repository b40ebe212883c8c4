#include <benchmark/benchmark.h>

#include "ops/matmul/cases.h"
#include "ops/matmul/matmul.h"
#include "tests/support/op_bench.h"

namespace sluice {
namespace {

// Pages of random bf16 in (-1, 1): fresh memory would all be one page of zeros, which no cache has to fetch.
std::shared_ptr<Buffer> random_bf16(int64_t count) {
  auto buffer = std::make_shared<Buffer>(Buffer::allocate(size_t(count) * sizeof(Bf16)).value());
  auto* p = reinterpret_cast<Bf16*>(buffer->data());
  uint32_t state = 1;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;  // Numerical Recipes' generator
    p[i] = Bf16(float(int32_t(state)) * 0x1p-31f);
  }
  return buffer;
}

struct Memory {
  std::shared_ptr<Buffer> x, w;
  std::vector<float> y;
};

void add(int64_t m, const MatmulShape& s, const std::shared_ptr<Buffer>& w) {
  auto memory = std::make_shared<Memory>(Memory{random_bf16(m * s.k), w, std::vector<float>(m * s.n)});
  const MatmulArgs args{.x = Tensor(memory->x->data(), DType::kBF16, {m, s.k}),
                        .w = Tensor(w->data(), DType::kBF16, {s.n, s.k}),
                        .y = Tensor::of(memory->y.data(), {m, s.n})};
  const double bytes = double(args.x.bytes() + args.w.bytes() + args.y.bytes());
  const auto impls = matmul_impls().first(matmul_impls().size() - 1);  // the last is the reference: too slow for these shapes
  benching::bench_impls("matmul", std::to_string(m) + "x" + std::to_string(s.n) + "x" + std::to_string(s.k), impls, args,
                        {.bytes = bytes, .flops = 2.0 * double(m) * double(s.n) * double(s.k)}, memory);
}

// What M = 1 is measured against: the team reads the head's weights and does nothing else.
void add_read(const std::shared_ptr<Buffer>& w) {
  benchmark::RegisterBenchmark(
      "matmul/read_only",
      [w](benchmark::State& state) {
        const auto* p = reinterpret_cast<const uint64_t*>(w->data());
        for (auto _ : state)
          benching::context().team->split(int64_t(w->size() / sizeof(uint64_t)), 1, [&](int64_t begin, int64_t end, int) {
            uint64_t any = 0;
            for (int64_t i = begin; i < end; ++i) any |= p[i];
            benchmark::DoNotOptimize(any);
          });
        state.counters["GB/s"] = benchmark::Counter(double(w->size()) / 1e9, benchmark::Counter::kIsIterationInvariantRate);
      })
      ->Unit(benchmark::kMicrosecond)
      ->UseRealTime();
}

// On a GPU, where every form's inputs are cold.
void add_gpu(int64_t m, const MatmulShape& s, DType operands) {
  const std::string label =
      std::to_string(m) + "x" + std::to_string(s.n) + "x" + std::to_string(s.k) + (operands == DType::kF32 ? "/f32" : "/bf16");
  benching::bench<MatmulArgs>(
      {"matmul", label, benching::Where::kGpu}, {matmul_impls(), check_matmul}, [m, s, operands](benching::Inputs& in) {
        const Tensor x = in.normal(operands, {m, s.k}), w = in.normal(operands, {s.n, s.k});
        const Tensor y = in.output(DType::kF32, {m, s.n});
        return benching::Call<MatmulArgs>{
            .args = {.x = x, .w = w, .y = y},
            .work = {.bytes = double(x.bytes() + w.bytes() + y.bytes()), .flops = 2.0 * double(m) * double(s.n) * double(s.k)},
            .outputs = {y},
            .weights = {w},
            .limit = 2e-6 * std::sqrt(double(s.k) / 1024 + 1)};
      });
}

const bool registered = [] {
  for (const MatmulShape& s : kMatmulGpuShapes)
    for (const int64_t m : kMatmulGpuRows) add_gpu(m, s, DType::kBF16);
  for (const MatmulShape& s : kMatmulGpuHeads)
    for (const int64_t m : {1, 8, 16, 64}) add_gpu(m, s, DType::kBF16);
  for (const int64_t m : {1, 16, 512}) add_gpu(m, kMatmulBenchShapes[0], DType::kF32);
  const auto head = random_bf16(kMatmulHead.n * kMatmulHead.k);
  add_read(head);
  for (const int64_t m : {1, 16}) add(m, kMatmulHead, head);
  for (const MatmulShape& s : kMatmulBenchShapes)
    for (const int64_t m : kMatmulBenchRows) add(m, s, head);  // a smaller matrix is the head's first rows
  return true;
}();

}  // namespace
}  // namespace sluice
