// What only a GPU can do: replay a recorded graph, and hang. And what its batch-invariant forms promise of each other.
#if SLUICE_HAS_CUDA
#include "core/cuda/graph.h"
#endif
#include "ops/gdn_decode/gdn_decode.h"
#include "ops/gdn_prefill/test_problem.h"
#include "tests/support/watchdog.h"

namespace sluice {
namespace {

using namespace sluice::testing;

#if SLUICE_HAS_CUDA

// One sequence in one call of gdn_prefill, and row by row through gdn_decode.
void expect_same_bits_as_decode(const GdnShape& d, int64_t R, DType state, DType in_type) {
  constexpr int64_t kRows = 150;
  Random random(700);
  const GdnPool before(GdnPool(2, d, random, R), state);
  const GdnInputs in(kRows, d, Temper::kStrong, in_type, random);
  const Storage slot = ints({1}), has = ints({1}), cu = ints({0, kRows}), zero = ints({0});
  GdnPool whole(before), steps(before);
  const Storage whole_o(DType::kF32, {kRows, d.HV, d.V}), steps_o(DType::kF32, {kRows, d.HV, d.V});
  auto all = gdn_args<GdnPrefillArgs>(in.rows(0, kRows, whole_o));
  all.cu_seqlens = cu, all.start = zero, all.slots = slot, all.has_state = has, all.state = whole.state();
  run_ok(prefill_named("portable"), all);
  for (int64_t t = 0; t < kRows; ++t) {
    const Storage start = ints({t});
    auto one = gdn_args<GdnDecodeArgs>(in.rows(t, t + 1, steps_o));
    one.start = start, one.slots = slot, one.has_state = has, one.state = steps.state();
    run_ok(impl_named(gdn_decode_impls(), "portable"), one);
  }
  const std::string what = "K " + std::to_string(d.K) + ", V " + std::to_string(d.V) + ", R " + std::to_string(R);
  expect_same_bits(steps_o, whole_o, what);
  expect_same_open_chunk(steps, whole, 1, kRows % R, what);
}

TEST(GdnPrefillGpu, SameBitsAsDecode) {
  if (!gpu_context()) GTEST_SKIP() << "no GPU here";
  for (const GdnShape d : {GdnShape{1, 2, 128, 128}, GdnShape{1, 1, 48, 80}, GdnShape{1, 1, 256, 64}})
    expect_same_bits_as_decode(d, 64, DType::kF32, DType::kBF16);
  expect_same_bits_as_decode({1, 1, 64, 64}, 16, DType::kBF16, DType::kF32);
}

// Calls of one batch whose sequences' lengths and starts are rows of these tensors. All rows lie in the same memory; of `call`,
// cu_seqlens and start are replaced.
struct ManyCalls {
  GdnPrefillArgs call;
  Tensor cu_seqlens, start;  // [N, B+1], [N, B] i32
};

template <class F>
void each_tensor(ManyCalls& a, F&& f) {
  each_tensor(a.call, f), f(a.cu_seqlens), f(a.start);
}

TEST(GdnPrefillGpu, SameBitsWhenAGraphIsReplayed) {
  if (!gpu_context()) GTEST_SKIP() << "no GPU here";
  // New sequences, so that a replay starts from nothing again.
  const GdnPrefillProblem p({2, 4, 128, 128, {200, 0, 64, 1, 77}, {0, 0, 0, 0, 0}}, {.in = DType::kBF16, .out = DType::kBF16}, 500);
  for (const GdnPrefillImpl* impl : p.forms()) {
    if (!is_gpu(impl->isa)) continue;
    const GdnPrefillAnswer want = p.run(*impl);
    GdnPrefillAnswer got{p.before, Storage(DType::kBF16, {p.T, p.d.HV, p.d.V}, p.d.HV * p.d.V + 16)};
    const Status s = cuda::staged(*gpu_context(), p.args(got.pool, got.o), [&](const GdnPrefillArgs& a) -> Status {
      Context& ctx = *gpu_context();
      SLUICE_ASSIGN_OR_RETURN(const cuda::Graph graph, cuda::Graph::capture(ctx, [&] { return run_impl(*impl, ctx, a); }));
      for (int i = 0; i < 3; ++i) SLUICE_RETURN_IF_ERROR(graph.launch(ctx));
      return {};
    });
    ASSERT_TRUE(s.ok()) << impl->name << ": " << s.to_string();
    expect_same_bits(got.o, want.o, impl->name);
    for (size_t b = 0; b < p.slots.size(); ++b) expect_same_open_chunk(got.pool, want.pool, p.slots[b], p.open[b], impl->name);
  }
}

// N calls of B sequences, most of few rows and some of many, that go on from one call to the next and now and then begin anew.
struct Schedule {
  std::vector<int64_t> cu, start;
  int64_t most_rows = 0;

  Schedule(int64_t N, int64_t B, Random& random) {
    std::vector<int64_t> position(B, 0);
    for (int64_t n = 0; n < N; ++n) {
      cu.push_back(0);
      for (int64_t b = 0; b < B; ++b) {
        if (random.uniform(0, 1) < 0.1) position[b] = 0;
        const double x = random.uniform(0, 1);
        const int64_t rows = x < 0.2 ? 0 : x < 0.5 ? 1 : x < 0.9 ? random.integer(2, 20) : random.integer(21, 150);
        start.push_back(position[b]), cu.push_back(cu.back() + rows);
        position[b] += rows;
      }
      most_rows = std::max(most_rows, cu.back());
    }
  }
};

TEST(GdnPrefillGpu, TenThousandRandomLaunches) {
  if (!gpu_context()) GTEST_SKIP() << "no GPU here";
  constexpr int64_t kCalls = 10000, kSequences = 6;
  Random random(600);
  const Schedule schedule(kCalls, kSequences, random);
  const GdnPrefillCase c{1, 2, 128, 128, std::vector<int64_t>(kSequences, 0), std::vector<int64_t>(kSequences, 0)};
  const GdnPrefillProblem p(c, {.in = DType::kBF16, .out = DType::kBF16}, 601);
  const GdnInputs in(schedule.most_rows, p.d, Temper::kMild, DType::kBF16, random);
  const Storage cu = ints(schedule.cu), start = ints(schedule.start);
  for (const GdnPrefillImpl* impl : p.forms()) {
    if (!is_gpu(impl->isa)) continue;
    const Watchdog watchdog(60, std::string(impl->name) + " hangs in random launches");
    const auto run_all = [&](GdnPool& pool, const Storage& o) {
      ManyCalls calls{gdn_args<GdnPrefillArgs>(in.rows(0, schedule.most_rows, o)), cu.tensor().reshape({kCalls, kSequences + 1}),
                      start.tensor().reshape({kCalls, kSequences})};
      calls.call.cu_seqlens = p.cu, calls.call.start = p.start, calls.call.slots = p.ids, calls.call.state = pool.state();
      const Status s = cuda::staged(*gpu_context(), calls, [&](const ManyCalls& a) -> Status {
        GdnPrefillArgs call = a.call;
        for (int64_t n = 0; n < kCalls; ++n) {
          call.cu_seqlens = a.cu_seqlens[n], call.start = a.start[n];
          SLUICE_RETURN_IF_ERROR(run_impl(*impl, *gpu_context(), call));
        }
        return {};
      });
      ASSERT_TRUE(s.ok()) << impl->name << ": " << s.to_string();
    };
    GdnPool first(p.before), second(p.before);
    const std::vector<int64_t> shape{schedule.most_rows, p.d.HV, p.d.V};
    const Storage first_o(DType::kBF16, shape), second_o(DType::kBF16, shape);
    run_all(first, first_o), run_all(second, second_o);
    expect_same_bits(first_o, second_o, impl->name);
    expect_same_pool(first, second, impl->name);
    for (double x : first_o.values()) ASSERT_TRUE(std::isfinite(x)) << impl->name;
  }
}

#else
TEST(GdnPrefillGpu, NotInThisBuild) { GTEST_SKIP() << "a build without CUDA"; }
#endif

}  // namespace
}  // namespace sluice
