#include <algorithm>

#include "ops/sample/cases.h"
#include "ops/sample/sample.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

// Of normal logits, flat; of the deviation of 2, but with a few tokens above that have 99 % of the weight, as of a trained model.
enum class Row { kFlat1, kFlat2, kFlat3, kPeaked };

enum class Adjust { kNothing, kStops, kPenalties };

struct Setting {
  const char* name;
  SamplingParams params;
  Adjust adjust = Adjust::kNothing;
  bool logprobs = true;
  Row row = Row::kFlat2;
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
    {"top_p0.95_deviation1", {.temperature = 1, .top_p = 0.95f}, Adjust::kNothing, true, Row::kFlat1},
    {"top_p0.95_deviation3", {.temperature = 1, .top_p = 0.95f}, Adjust::kNothing, true, Row::kFlat3},
    {"top_p0.95_peaked", {.temperature = 1, .top_p = 0.95f}, Adjust::kNothing, true, Row::kPeaked},
    {"top_p0.5", {.temperature = 1, .top_p = 0.5f}},
    {"top_k5000_top_p0.95", {.temperature = 1, .top_k = 5000, .top_p = 0.95f}},
    {"min_p0.05", {.temperature = 1, .min_p = 0.05f}},
};

// What a call refers to beside its tensors.
struct Lists {
  std::vector<TokenUse> used;
  std::vector<int32_t> banned;
  std::vector<SamplingParams> params;
  std::vector<SampleRow> rows;
};

// Row b has setting b, over and over.
std::shared_ptr<Lists> lists_of(const SampleCase& c, std::span<const Setting> settings) {
  auto l = std::make_shared<Lists>();
  for (int32_t i = 0; i < 2000; ++i) l->used.push_back({int32_t(i * 104729ll % c.vocab), i % 2 == 0, i % 4});
  l->banned = {int32_t(c.vocab - 1), int32_t(c.vocab / 2)};
  for (int64_t b = 0; b < c.rows; ++b) {
    const Setting& setting = settings[size_t(b) % settings.size()];
    l->params.push_back(setting.params);
    l->rows.emplace_back();
    if (setting.adjust == Adjust::kStops) l->rows.back().banned = l->banned;
    if (setting.adjust == Adjust::kPenalties) l->rows.back().used = l->used;
  }
  return l;
}

std::function<float(float)> logit_of(Row row) {
  if (row != Row::kPeaked) return [=](float x) { return x * (row == Row::kFlat1 ? 1 : row == Row::kFlat2 ? 2 : 3); };
  return [i = 0](float x) mutable { return ++i % 12345 == 0 ? 19 - 0.8f * float(i / 12345 % 20) : 2 * x; };
}

void add(const SampleCase& c, const char* name, std::span<const Setting> settings) {
  const std::string label = std::to_string(c.rows) + "x" + std::to_string(c.vocab) + "_" + name;
  const auto lists = lists_of(c, settings);
  const auto any = [&](auto&& f) { return std::ranges::any_of(settings, f); };
  const bool adjusts = any([](const Setting& s) { return s.adjust != Adjust::kNothing; });
  const bool logprobs = any([](const Setting& s) { return s.logprobs; });
  const double logits = double(c.rows * c.vocab);
  const Row row = settings.front().row;
  const double flops = any([](const Setting& s) { return s.params.temperature > 0; }) ? 35 * logits : 0;  // of e^x in fp64
  bench<SampleArgs>({"sample", label, Where::kBoth}, {sample_impls(), check_sample}, [=](Inputs& in) {
    SampleArgs args{.logits = in.normal(DType::kF32, {c.rows, c.vocab}, logit_of(row)),
                    .params = lists->params,
                    .positions = in.count(c.rows),
                    .ids = in.output(DType::kI32, {c.rows})};
    if (adjusts) args.rows = lists->rows;
    if (logprobs) args.logprobs = in.output(DType::kF32, {c.rows});
    return Call<SampleArgs>{.args = args, .work = {.bytes = 4 * logits, .flops = flops}, .outputs = {args.ids}, .limit = 0};
  });
}

const bool registered = [] {
  for (const SampleCase& c : kSampleBenchCases)
    for (const Setting& setting : kSettings) add(c, setting.name, {&setting, 1});
  add(kSampleMixedBenchCase, "mixed", kSettings);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
