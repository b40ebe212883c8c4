// Absolute limits that other engines' kernels are held to, with their shapes and initialisation.
#include "ops/gdn_prefill/test_problem.h"

namespace sluice {
namespace {

using namespace sluice::testing;

// The fastest CPU form, itself held to the fp64 reference by the other tests.
const char* yardstick() {
  const CpuFeatures& cpu = *context().cpu;
  return cpu.avx512 ? "avx512" : cpu.avx2 ? "avx2" : "cpu";
}

GdnPrefillAnswer answer(const GdnPrefillProblem& p) { return p.run(prefill_named(yardstick())); }
Storage states(const GdnPrefillProblem& p, const GdnPool& pool) {
  return p.states(pool, p.setting.R == kChunk ? yardstick() : "reference");
}

// The forms that run calls of this kind, found with a small one.
std::vector<const GdnPrefillImpl*> forms_of(const GdnPrefillCase& c, GdnPrefillSetting setting) {
  setting.slots = {}, setting.pool = 0;
  return GdnPrefillProblem({c.HK, c.HV, c.K, c.V, {1}, {64}}, setting, 1).forms();
}
std::vector<const GdnPrefillImpl*> gpu_forms_of(const GdnPrefillCase& c, const GdnPrefillSetting& setting) {
  std::vector<const GdnPrefillImpl*> forms = forms_of(c, setting);
  std::erase_if(forms, [](const GdnPrefillImpl* f) { return !is_gpu(f->isa); });
  return forms;
}

// Gates as a freshly initialised model has them: A in (0, 16), time steps log-uniform in (0.001, 0.1).
void initialise_gates(GdnPrefillProblem& p) {
  std::vector<double> A(p.d.HV), dt_bias(p.d.HV);
  for (double& a : A) a = p.random.uniform(0, 16);
  for (double& bias : dt_bias) {
    const double dt = std::max(1e-4, std::exp(p.random.uniform(0, 1) * (std::log(0.1) - std::log(0.001)) + std::log(0.001)));
    bias = dt + std::log(-std::expm1(-dt));
  }
  int64_t i = 0;
  p.in.log_g.fill([&] {
    const int64_t h = i++ % p.d.HV;
    return -A[h] * std::log1p(std::exp(p.random.normal() + dt_bias[h]));
  });
  p.in.beta.fill([&] { return 1 / (1 + std::exp(-p.random.normal())); });
}

struct Deviation {
  double max = 0, mean = 0;
};

Deviation deviation(const Storage& got, const Storage& want) {
  Deviation d;
  const Tensor &x = got, &y = want;
  const int64_t inner = x.numel() / x.dim(0);
  visit_float(x, [&]<class X>(X*) {
    for (int64_t i = 0; i < x.numel(); ++i) {
      const int64_t at = i / inner * x.stride[0] + i % inner;
      const double e = std::abs(double(float(x.as<X>()[at])) - double(float(y.as<X>()[at])));
      if (!(e < INFINITY)) d = {INFINITY, INFINITY};
      d.max = std::max(d.max, e), d.mean += e / double(x.numel());
    }
  });
  return d;
}

template <class Forms>
void hold_to_recurrence_limits(int64_t sequences, DType state, Forms&& forms_of_call) {
  GdnPrefillCase c{4, 8, 128, 128, {}, std::vector<int64_t>(sequences, 64)};  // full states and no open rows
  for (int64_t b = 0; b < sequences; ++b) c.lengths.push_back(sequences == 1 ? 129 : 1 + b * 37 % 129);
  const GdnPrefillSetting setting{.in = DType::kBF16, .out = DType::kBF16, .state = state, .state_stddev = 0.05};
  const std::vector<const GdnPrefillImpl*> forms = forms_of_call(c, setting);
  if (forms.empty()) return;
  GdnPrefillProblem p(c, setting, 300 + sequences);
  initialise_gates(p);
  const GdnPrefillAnswer want = answer(p);
  const Storage want_s = states(p, want.pool);
  for (const GdnPrefillImpl* impl : forms) {
    const GdnPrefillAnswer got = p.run(*impl);
    const std::string what = std::string(impl->name) + ", " + std::to_string(sequences) + " sequences";
    const Deviation o = deviation(got.o, want.o), s = deviation(states(p, got.pool), want_s);
    EXPECT_LT(o.max, 2e-3) << what;
    EXPECT_LT(o.mean, 6e-5) << what;
    EXPECT_LT(s.max, 2e-2) << what;
    EXPECT_LT(s.mean, 6e-4) << what;
    p.expect_others_untouched(got.pool, what);
  }
}

TEST(GdnPrefillLimits, Recurrence) {
  for (const int64_t sequences : {1, 5})
    for (const DType state : {DType::kF32, DType::kBF16}) hold_to_recurrence_limits(sequences, state, forms_of);
}

TEST(GdnPrefillLimits, RecurrenceOf257Sequences) {
  if (!gpu_context()) GTEST_SKIP() << "no GPU here: the CPU forms would only be compared with each other";
  for (const DType state : {DType::kF32, DType::kBF16}) hold_to_recurrence_limits(257, state, gpu_forms_of);
}

struct PoolShape {
  int64_t sequences, rows, heads, pool;
  bool sequential;  // slots 0, 1, 2, ... ; else spread over the pool
};

// K = V = 128; 1 to 32 sequences of 1 to 256 rows, 4 to 64 heads, pools of 32 to 512 slots.
constexpr PoolShape kPoolShapes[] = {
    {1, 1, 4, 32, false},   {1, 7, 8, 32, false},   {1, 16, 8, 32, false},  {1, 32, 16, 32, false}, {1, 64, 64, 32, false},
    {1, 128, 4, 64, false}, {1, 256, 8, 32, false}, {2, 64, 16, 32, false}, {4, 1, 4, 128, false},  {4, 16, 8, 64, false},
    {4, 128, 4, 64, false}, {8, 7, 4, 128, false},  {16, 32, 4, 64, false}, {32, 1, 4, 512, false}, {32, 256, 4, 64, false},
    {1, 64, 8, 32, true},   {4, 32, 8, 32, true},   {8, 64, 4, 32, true},   {32, 16, 4, 64, true},
};

void expect_within(const Storage& got, const Storage& want, double absolute, double relative, const std::string& what) {
  const std::vector<double> x = got.values(), y = want.values();
  for (size_t i = 0; i < x.size(); ++i)
    if (!(std::abs(x[i] - y[i]) <= absolute + relative * std::abs(y[i])))
      FAIL() << what << ", element " << i << ": " << x[i] << ", wanted " << y[i];
}

TEST(GdnPrefillLimits, PoolsOfManyShapes) {
  if (!gpu_context()) GTEST_SKIP() << "no GPU here: the CPU forms would only be compared with each other";
  uint64_t seed = 400;
  for (const PoolShape& shape : kPoolShapes) {
    const int64_t B = shape.sequences;
    std::vector<int64_t> slots(B);
    for (int64_t b = 0; b < B; ++b) slots[b] = shape.sequential ? b : (b * (shape.pool / B) + shape.pool / 2) % shape.pool;
    const GdnPrefillCase c{shape.heads, shape.heads, 128, 128, std::vector<int64_t>(B, shape.rows), std::vector<int64_t>(B, 64)};
    const GdnPrefillSetting setting{
        .in = DType::kBF16, .out = DType::kBF16, .state_stddev = 0.05, .slots = slots, .pool = shape.pool};
    GdnPrefillProblem p(c, setting, seed++);
    initialise_gates(p);
    const GdnPrefillAnswer want = answer(p);
    const Storage want_s = states(p, want.pool);
    for (const GdnPrefillImpl* impl : gpu_forms_of(c, setting)) {
      const GdnPrefillAnswer got = p.run(*impl);
      const std::string what = std::string(impl->name) + ", " + std::to_string(B) + "x" + std::to_string(shape.rows) + ", " +
                               std::to_string(shape.heads) + " heads, " + std::to_string(shape.pool) + " slots";
      expect_within(got.o, want.o, 5e-2, 1e-2, what + ": o");
      expect_within(states(p, got.pool), want_s, 5e-2, 1e-2, what + ": state");
      p.expect_others_untouched(got.pool, what);
    }
  }
}

}  // namespace
}  // namespace sluice
