#include <random>

#include "ops/sample/cases.h"
#include "ops/sample/sample.h"
#include "tests/support/op_bench.h"

namespace sluice {
namespace {

struct Memory {
  std::vector<float> logits, logprobs;
  std::vector<int32_t> positions, ids;
  std::vector<std::vector<SamplingParams>> params;
};

struct Setting {
  const char* name;
  SamplingParams params;
};
constexpr Setting kSettings[] = {
    {"greedy", {}},
    {"top_k20_top_p0.95", {.temperature = 1, .top_k = 20, .top_p = 0.95f}},
    {"top_p0.95", {.temperature = 1, .top_p = 0.95f}},
    {"plain", {.temperature = 1}},
};

// Normal logits: far flatter than a trained model's, the hard case of a draw without top_k. All rows are the same.
std::vector<float> normal_logits(int64_t rows, int64_t vocab) {
  std::mt19937 rng(1);
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> logits(vocab);
  for (float& x : logits) x = normal(rng);
  logits.reserve(rows * vocab);
  for (int64_t b = 1; b < rows; ++b) logits.insert(logits.end(), logits.begin(), logits.begin() + vocab);
  return logits;
}

const bool registered = [] {
  for (const SampleCase& c : kSampleBenchCases) {
    const int64_t B = c.rows, V = c.vocab;
    auto m = std::make_shared<Memory>();
    m->logits = normal_logits(B, V);
    m->logprobs.resize(B), m->positions.resize(B), m->ids.resize(B);
    for (const Setting& setting : kSettings) m->params.emplace_back(B, setting.params);
    for (size_t i = 0; i < m->params.size(); ++i) {
      const SampleArgs args{.logits = Tensor::of(m->logits.data(), {B, V}),
                            .params = m->params[i],
                            .positions = Tensor::of(m->positions.data(), {B}),
                            .ids = Tensor::of(m->ids.data(), {B}),
                            .logprobs = Tensor::of(m->logprobs.data(), {B})};
      benching::bench_impls("sample", std::to_string(B) + "x" + std::to_string(V) + "_" + kSettings[i].name, sample_impls(), args,
                            {.bytes = 4.0 * double(B * V)}, m);
    }
  }
  return true;
}();

}  // namespace
}  // namespace sluice
