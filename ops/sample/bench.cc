#include <random>

#include "ops/sample/cases.h"
#include "ops/sample/sample.h"
#include "tests/support/op_bench.h"

namespace sluice {
namespace {

struct Memory {
  std::vector<float> logits, logprobs;
  std::vector<int32_t> positions, ids;
  std::vector<TokenUse> used;
  std::vector<int32_t> banned;
  std::vector<std::vector<SamplingParams>> params;
  std::vector<std::vector<SampleRow>> rows;
};

enum class Adjust { kNothing, kStops, kPenalties };

struct Setting {
  const char* name;
  SamplingParams params;
  Adjust adjust = Adjust::kNothing;
  bool logprobs = true;
};
constexpr Setting kSettings[] = {
    {"greedy_no_logprobs", {}, Adjust::kNothing, false},
    {"greedy", {}},
    {"greedy_2_banned", {}, Adjust::kStops},
    {"greedy_penalties", {.repetition_penalty = 1.1f, .presence_penalty = 0.5f, .frequency_penalty = 0.1f}, Adjust::kPenalties},
    {"plain", {.temperature = 1}},
    {"plain_penalties",
     {.temperature = 1, .repetition_penalty = 1.1f, .presence_penalty = 0.5f, .frequency_penalty = 0.1f},
     Adjust::kPenalties},
    {"top_k20_top_p0.95", {.temperature = 1, .top_k = 20, .top_p = 0.95f}},
    {"top_k20_top_p0.95_penalties",
     {.temperature = 1,
      .top_k = 20,
      .top_p = 0.95f,
      .repetition_penalty = 1.1f,
      .presence_penalty = 0.5f,
      .frequency_penalty = 0.1f},
     Adjust::kPenalties},
    {"top_p0.95", {.temperature = 1, .top_p = 0.95f}},
    {"min_p0.05", {.temperature = 1, .min_p = 0.05f}},
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

SampleRow row_of(const Memory& m, Adjust adjust) {
  SampleRow row;
  if (adjust == Adjust::kStops) row.banned = m.banned;
  if (adjust == Adjust::kPenalties) row.used = m.used;
  return row;
}

const bool registered = [] {
  for (const SampleCase& c : kSampleBenchCases) {
    const int64_t B = c.rows, V = c.vocab;
    auto m = std::make_shared<Memory>();
    m->logits = normal_logits(B, V);
    m->logprobs.resize(B), m->positions.resize(B), m->ids.resize(B);
    for (int32_t i = 0; i < 2000; ++i) m->used.push_back({int32_t(i * 104729ll % V), i % 2 == 0, i % 4});
    m->banned = {int32_t(V - 1), int32_t(V / 2)};
    for (const Setting& setting : kSettings) {
      m->params.emplace_back(B, setting.params);
      m->rows.emplace_back(B, row_of(*m, setting.adjust));
    }
    for (size_t i = 0; i < m->params.size(); ++i) {
      SampleArgs args{.logits = Tensor::of(m->logits.data(), {B, V}),
                      .params = m->params[i],
                      .positions = Tensor::of(m->positions.data(), {B}),
                      .ids = Tensor::of(m->ids.data(), {B})};
      if (kSettings[i].adjust != Adjust::kNothing) args.rows = m->rows[i];
      if (kSettings[i].logprobs) args.logprobs = Tensor::of(m->logprobs.data(), {B});
      benching::bench_impls("sample", std::to_string(B) + "x" + std::to_string(V) + "_" + kSettings[i].name, sample_impls(), args,
                            {.bytes = 4.0 * double(B * V)}, m);
    }
  }
  return true;
}();

}  // namespace
}  // namespace sluice
