#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/moe_gate/cases.h"
#include "ops/moe_gate/moe_gate.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

std::string name_of(const MoeGateCase& c) {
  return std::to_string(c.experts) + "," + std::to_string(c.n_group) + "," + std::to_string(c.topk_group) + "," +
         std::to_string(c.top_k);
}

MoeGateArgs args_of(const MoeGateCase& c, const Tensor& logits, const Tensor& bias = {}) {
  return {.logits = logits, .bias = bias, .scoring = c.scoring, .top_k = c.top_k, .n_group = c.n_group, .topk_group = c.topk_group};
}

struct Outputs {
  Storage weights, ids;
  explicit Outputs(const MoeGateArgs& a, int64_t row_stride = 0)
      : weights(DType::kF32, {a.logits.dim(0), a.top_k + a.shared_expert}, row_stride),
        ids(DType::kI32, {a.logits.dim(0), a.top_k + a.shared_expert}, row_stride) {}
};

MoeGateArgs into(MoeGateArgs a, const Outputs& out) {
  a.topk_weights = out.weights, a.topk_ids = out.ids;
  return a;
}

// NaN equals NaN.
void expect_same(const Outputs& got, const Outputs& want, const std::string& what) {
  EXPECT_EQ(got.ids.values(), want.ids.values()) << what;
  const std::vector<double> g = got.weights.values(), w = want.weights.values();
  for (size_t i = 0; i < w.size(); ++i)
    ASSERT_TRUE(g[i] == w[i] || (std::isnan(g[i]) && std::isnan(w[i]))) << what << ": weight " << g[i] << ", wanted " << w[i];
  EXPECT_TRUE(got.ids.margins_intact() && got.weights.margins_intact()) << what << ": wrote outside its outputs";
}

void expect_as_reference(const MoeGateArgs& a, const std::string& what, int64_t row_stride = 0) {
  const Outputs want(a, row_stride);
  ASSERT_TRUE(check_moe_gate(into(a, want)).ok()) << check_moe_gate(into(a, want)).message() << " " << what;
  run_ok(impl_named(moe_gate_impls(), "reference"), into(a, want));
  for (const auto* impl : runnable(moe_gate_impls(), into(a, want))) {
    const Outputs got(a, row_stride);
    run_ok(*impl, into(a, got));
    expect_same(got, want, std::string(impl->name) + " " + what);
  }
}

// Of one kind a row: smooth, coarse (equal scores everywhere), large, all equal, and with infinities and NaNs.
Storage random_logits(Random& random, DType dtype, int64_t rows, int64_t experts, int64_t row_stride = 0, int64_t offset = 0) {
  Storage s(dtype, {rows, experts}, row_stride, offset);
  int64_t i = 0;
  s.fill([&]() -> double {
    const int64_t kind = i++ / experts % 6;
    const double x = random.normal();
    if (kind == 1) return std::round(2 * x) / 2;
    if (kind == 2) return 60 * x;
    if (kind == 3) return -0.75;
    const int64_t odd = kind == 4 ? random.integer(0, 9) : kind == 5 ? random.integer(0, 2) : 99;
    return odd == 0 ? kNan : odd == 1 ? kInf : odd == 2 ? -kInf : odd == 3 ? -0.0 : odd == 4 ? 0.0 : x;
  });
  return s;
}

Storage random_bias(Random& random, int64_t experts) {
  Storage s(DType::kF32, {experts});
  s.fill([&]() -> double {
    const int64_t kind = random.integer(0, 40);
    return kind == 0 ? kNan : kind == 1 ? -kInf : kind < 20 ? std::round(4 * random.normal()) / 4 : random.normal();
  });
  return s;
}

TEST(MoeGate, SameBitsAsReference) {
  Random random(1);
  const auto hold = [&](const MoeGateCase& c) {
    for (const DType dtype : {DType::kF32, DType::kBF16})
      for (const bool biased : {false, true}) {
        const int64_t E = c.experts;
        const Storage logits = random_logits(random, dtype, 12, E, E + 3, biased), bias = random_bias(random, E);
        MoeGateArgs a = args_of(c, logits, biased ? bias.tensor() : Tensor());
        expect_as_reference(a, name_of(c));
        a.renormalize = false, a.routed_scaling = 2.5f, a.shared_expert = true;
        expect_as_reference(a, name_of(c) + " shared", a.top_k + 4);
        a.renormalize = true, a.scale_weights = true;
        a.scoring = a.scoring == GateScoring::kSigmoid ? GateScoring::kSoftmax : GateScoring::kSigmoid;
        expect_as_reference(a, name_of(c) + " scaled, the other scoring");
      }
  };
  for (const MoeGateCase& c : kMoeGateModels) hold(c);
  for (const MoeGateCase& c : kMoeGateEdges) hold(c);
}

// Where rows are many a GPU has another kernel.
TEST(MoeGate, ManyRows) {
  constexpr int64_t kTokens = 1600;  // above eight a multiprocessor
  Random random(6);
  for (const MoeGateCase& c : kMoeGateEdges) {
    const Storage logits = random_logits(random, DType::kF32, kTokens, c.experts), bias = random_bias(random, c.experts);
    expect_as_reference(args_of(c, logits, c.topk_group < c.n_group ? bias.tensor() : Tensor()), name_of(c) + " many rows");
  }
}

// Every model's router on 40,000 tokens: the same ids and weights, whole and cut into two, on one thread and on more.
TEST(MoeGate, FortyThousandTokens) {
  Random random(2);
#ifdef __SANITIZE_ADDRESS__
  constexpr int64_t kTokens = 4000;  // at a twentieth of the speed
#else
  constexpr int64_t kTokens = 40000;
#endif
  for (const MoeGateCase& c : kMoeGateModels) {
    const DType dtype = c.n_group > 1 ? DType::kF32 : DType::kBF16;  // many of bf16's scores are equal
    const Storage logits(dtype, {kTokens, c.experts});
    Storage bias(DType::kF32, {c.experts});
    uint64_t state = 7;
    for (int64_t i = 0; i < kTokens * c.experts; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;  // ten million draws of std::normal_distribution take too long
      const float x = (float(state >> 40) + float(state >> 16 & 0xffffff)) * 0x1p-22f - 4;
      if (dtype == DType::kF32) logits.tensor().as<float>()[i] = x;
      else logits.tensor().as<Bf16>()[i] = Bf16(x);
    }
    bias.fill([&] { return random.normal(0, 0.1); });
    MoeGateArgs a = args_of(c, logits, c.scoring == GateScoring::kSigmoid ? bias.tensor() : Tensor());
    a.routed_scaling = 2.5f, a.scale_weights = true;
    const Outputs want(a);
    run_ok(impl_named(moe_gate_impls(), "reference"), into(a, want));
    for (const auto* impl : runnable(moe_gate_impls(), into(a, want))) {
      if (impl->name == std::string("reference")) continue;
      const Outputs got(a);
      for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 17}, {17, kTokens}}) {
        MoeGateArgs part = into(a, got);
        for (Tensor* t : {&part.logits, &part.topk_weights, &part.topk_ids}) *t = t->slice(0, begin, end);
        run_ok(*impl, part, begin == 0 ? 1 : 2);
      }
      expect_same(got, want, std::string(impl->name) + " " + name_of(c));
    }
  }
}

// The formula once more in fp64: ids equal where the scores are further apart than fp32 resolves, weights to 1e-6.
TEST(MoeGate, TheFormulaInFp64) {
  Random random(3);
  constexpr int64_t kTokens = 400;
  for (const MoeGateCase& c : kMoeGateModels) {
    const int64_t size = c.experts / c.n_group;
    const Storage logits = random.normal(DType::kF32, {kTokens, c.experts}), bias = random.normal(DType::kF32, {c.experts}, 0.1);
    const bool sigmoid = c.scoring == GateScoring::kSigmoid;
    const MoeGateArgs a = args_of(c, logits, sigmoid ? bias.tensor() : Tensor());
    const std::vector<double> x = logits.values(), b = bias.values();
    const Outputs got(a);
    run_ok(moe_gate_impls().back(), into(a, got));
    const std::vector<double> ids = got.ids.values(), weights = got.weights.values();
    for (int64_t t = 0; t < kTokens; ++t) {
      std::vector<double> s, choice, group;
      double sum = 0;
      for (int64_t e = 0; e < c.experts; ++e) sum += std::exp(x[size_t(t * c.experts + e)]);
      for (int64_t e = 0; e < c.experts; ++e) {
        const double logit = x[size_t(t * c.experts + e)];
        s.push_back(sigmoid ? 1 / (1 + std::exp(-logit)) : std::exp(logit) / sum);
        choice.push_back(s.back() + (sigmoid ? b[size_t(e)] : 0));
      }
      for (int64_t g = 0; g < c.n_group; ++g) {
        std::vector<double> of_group(choice.begin() + g * size, choice.begin() + (g + 1) * size);
        std::ranges::sort(of_group, std::greater());
        group.push_back(of_group[0] + of_group[1]);
      }
      std::vector<double> ranked = group;
      std::ranges::sort(ranked, std::greater());
      bool clear = c.topk_group == c.n_group || ranked[size_t(c.topk_group - 1)] - ranked[size_t(c.topk_group)] > 1e-6;
      for (int64_t e = 0; e < c.experts; ++e)
        if (group[size_t(e / size)] < ranked[size_t(c.topk_group - 1)]) choice[size_t(e)] = -INFINITY;
      double chosen = 0;
      for (int64_t i = 0; i < c.top_k; ++i) chosen += s[size_t(ids[size_t(t * c.top_k + i)])];
      for (int64_t i = 0; i < c.top_k; ++i) {
        const auto best = size_t(std::ranges::max_element(choice) - choice.begin());
        const double score = choice[best];
        choice[best] = -INFINITY;
        clear = clear && score - *std::ranges::max_element(choice) > 1e-6 * (sigmoid ? 1 : score);
        if (!clear) break;
        EXPECT_EQ(ids[size_t(t * c.top_k + i)], double(best)) << name_of(c) << " token " << t << " place " << i;
        EXPECT_NEAR(weights[size_t(t * c.top_k + i)] * chosen / s[best], 1, 1e-6) << name_of(c);
      }
    }
  }
}

struct Chosen {
  std::vector<double> ids, weights;
};

Chosen run_one(const Impl<MoeGateArgs>& impl, MoeGateArgs a) {
  const Outputs out(a);
  run_ok(impl, into(a, out));
  return {out.ids.values(), out.weights.values()};
}

// Sixteen experts in four groups, by hand.
TEST(MoeGate, GroupsAndTies) {
  Storage logits(DType::kF32, {1, 16}), bias(DType::kF32, {16});
  const auto set = [](Storage& s, std::vector<double> values) {
    size_t i = 0;
    s.fill([&] { return values[i++]; });
  };
  const MoeGateCase c{16, 4, 2, 3};
  for (const auto* impl : runnable(moe_gate_impls(), args_of(c, logits))) {
    // The best expert of all is in a group whose two best are the worst pair: it is not chosen.
    set(logits, {9, -9, -9, -9, 1, 1, 1, 1, 2, 2, 0, 0, 1, 1, 1, 1});
    EXPECT_EQ(run_one(*impl, args_of(c, logits)).ids, (std::vector<double>{8, 9, 4})) << impl->name;  // of groups 1 and 3, 1
    // Biases below zero do not make the experts of other groups look good.
    bias.fill([] { return -3.0; });
    EXPECT_EQ(run_one(*impl, args_of(c, logits, bias)).ids, (std::vector<double>{8, 9, 4})) << impl->name;
    // Equal everywhere: the first groups, the first experts.
    logits.fill([] { return 0.5; });
    const Chosen equal = run_one(*impl, args_of(c, logits));
    EXPECT_EQ(equal.ids, (std::vector<double>{0, 1, 2})) << impl->name;
    EXPECT_EQ(equal.weights, std::vector<double>(3, double(1.0f / 3))) << impl->name;
    // A bias chooses and does not weigh.
    set(bias, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 5});
    EXPECT_EQ(run_one(*impl, args_of(c, logits, bias)).ids, (std::vector<double>{15, 12, 13})) << impl->name;
    EXPECT_EQ(run_one(*impl, args_of(c, logits, bias)).weights, equal.weights) << impl->name;
  }
}

// As many different experts as wanted, whatever the logits.
TEST(MoeGate, NanIsTheLowest) {
  Storage logits(DType::kF32, {1, 40});
  int64_t i = 0;
  for (const GateScoring scoring : {GateScoring::kSigmoid, GateScoring::kSoftmax}) {
    const MoeGateCase c{40, 1, 1, 4, scoring};
    for (const auto* impl : runnable(moe_gate_impls(), args_of(c, logits))) {
      i = 0;
      logits.fill([&] { return i++ == 35 ? -kInf : i == 21 ? 1.0 : i == 4 ? kInf : kNan; });
      const Chosen some = run_one(*impl, args_of(c, logits));
      EXPECT_EQ(some.ids, (std::vector<double>{3, 20, 35, 0})) << impl->name;
      EXPECT_TRUE(std::isnan(some.weights[0])) << impl->name << ": a NaN was chosen";
      logits.fill([] { return kNan; });
      EXPECT_EQ(run_one(*impl, args_of(c, logits)).ids, (std::vector<double>{0, 1, 2, 3})) << impl->name;
      i = 0;
      logits.fill([&] { return i++ % 2 ? kNan : 1.0; });
      EXPECT_EQ(run_one(*impl, args_of(c, logits)).weights, std::vector<double>(4, 0.25)) << impl->name << ": none was chosen";
      // In a softmax infinities of one sign share.
      i = 0;
      logits.fill([&] { return i++ < 4 ? kInf : -kInf; });
      EXPECT_EQ(run_one(*impl, args_of(c, logits)).weights, std::vector<double>(4, 0.25)) << impl->name;
    }
  }
}

TEST(MoeGate, SharedExpert) {
  Random random(4);
  const Storage logits = random.normal(DType::kF32, {3, 64});
  MoeGateArgs a = args_of({64, 1, 1, 6}, logits);
  a.routed_scaling = 2.5f, a.shared_expert = true;
  for (const auto* impl : runnable(moe_gate_impls(), a)) {
    a.scale_weights = false;
    const Chosen later = run_one(*impl, a);
    a.scale_weights = true;
    const Chosen scaled = run_one(*impl, a);
    double sum = 0;
    for (size_t i = 0; i < 6; ++i) {
      sum += later.weights[i];
      EXPECT_EQ(scaled.weights[i], double(float(later.weights[i]) * 2.5f)) << impl->name;
    }
    EXPECT_NEAR(sum, 1, 1e-6) << impl->name;
    for (size_t t = 0; t < 3; ++t) {
      EXPECT_EQ(later.ids[7 * t + 6], 64) << impl->name;
      EXPECT_EQ(later.weights[7 * t + 6], double(1 / 2.5f)) << impl->name;
      EXPECT_EQ(scaled.weights[7 * t + 6], 1) << impl->name;
    }
  }
}

TEST(MoeGate, NoTokens) {
  const Storage logits(DType::kF32, {0, 8});
  const MoeGateArgs a = args_of({8, 1, 1, 2}, logits);
  for (const auto* impl : runnable(moe_gate_impls(), a)) run_one(*impl, a);
}

TEST(MoeGate, RefusesBadArguments) {
  const Storage logits(DType::kF32, {2, 12}), none(DType::kF32, {2, 0}), weights(DType::kF32, {2, 4}), ids(DType::kI32, {2, 4});
  const auto message = [&](auto&& change) {
    MoeGateArgs a{.logits = logits, .topk_weights = weights, .topk_ids = ids, .top_k = 4};
    change(a);
    return check_moe_gate(a).message();
  };
  EXPECT_EQ(message([](MoeGateArgs&) {}), "");
  EXPECT_EQ(message([](MoeGateArgs& a) { a.logits = {}; }), "moe_gate: logits is missing");
  EXPECT_EQ(message([&](MoeGateArgs& a) { a.logits = ids; }), "moe_gate: logits is I32, wanted F32 or BF16");
  EXPECT_EQ(message([&](MoeGateArgs& a) { a.logits = none; }), "moe_gate: logits has no experts or more than 1024");
  EXPECT_EQ(message([&](MoeGateArgs& a) { a.bias = weights; }), "moe_gate: bias has shape [2, 4], wanted [12]");
  EXPECT_EQ(message([](MoeGateArgs& a) { a.n_group = 5; }), "moe_gate: n_group must divide the number of experts");
  EXPECT_EQ(message([](MoeGateArgs& a) { a.topk_group = 2; }), "moe_gate: topk_group must be 1 to n_group");
  EXPECT_EQ(message([](MoeGateArgs& a) { a.top_k = 33; }), "moe_gate: top_k must be 1 to 32");
  EXPECT_EQ(message([](MoeGateArgs& a) { a.n_group = 4; }), "moe_gate: top_k is 4, and 1 of 4 groups have 3 experts");
  EXPECT_EQ(message([](MoeGateArgs& a) { a.top_k = 3; }), "moe_gate: topk_weights has shape [2, 4], wanted [2, 3]");
  EXPECT_EQ(message([&](MoeGateArgs& a) { a.topk_ids = weights; }), "moe_gate: topk_ids is F32, wanted I32");
  EXPECT_EQ(message([](MoeGateArgs& a) { a.top_k = 3, a.shared_expert = true, a.routed_scaling = 0; }),
            "moe_gate: routed_scaling is 0: a shared expert's weight is 1 / it");
}

}  // namespace
}  // namespace sluice
