// The demo model against transformers: the ids of every case in both dtypes, and in fp32 the log-probabilities.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "engine/scheduler.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "text/chat.h"
#include "text/tokenizer.h"

namespace sluice {
namespace {

const std::string kDemo = SLUICE_SOURCE_DIR "/demo";

std::vector<int32_t> ids_of(const Tensor& t) { return {t.as<int32_t>(), t.as<int32_t>() + t.numel()}; }

class Demo : public ::testing::TestWithParam<DTypeChoice> {
 protected:
  static std::vector<std::string> cases(const SafetensorsFile& oracle) {
    std::vector<std::string> keys;
    for (const auto& name : oracle.names())
      if (name.ends_with(".input_ids")) keys.push_back(name.substr(0, name.size() - 10));
    return keys;
  }
};

TEST_P(Demo, GreedyIdsEqualTransformers) {
  const auto oracle = SafetensorsFile::open(kDemo + "/oracle.safetensors").value();
  auto engine = Engine::create({.model = kDemo + "/model", .dtype = GetParam(), .max_context = 4096}).value();
  const auto keys = cases(oracle);
  ASSERT_GE(keys.size(), 36u);
  for (const std::string& key : keys) {
    const auto want = ids_of(*oracle.find(key + ".greedy_ids"));
    const auto& stops = engine->model().config().eos_token_ids;
    const Request request{.prompt = ids_of(*oracle.find(key + ".input_ids")),
                          .sampling = {.stop_ids = {stops.begin(), stops.end()}},
                          .max_tokens = 96};
    Scheduler scheduler(*engine);
    const auto got = answer(scheduler, request).value().tokens;
    EXPECT_EQ(ids_of(got), want) << key;
    const Tensor& expected = *oracle.find(key + ".next_logprobs");  // ends with the log-probability of the last new token
    const double limit = GetParam() == DTypeChoice::kF32 ? 1e-3 : 0.25;
    for (size_t i = 0; i < got.size() && ids_of(got) == want; ++i)
      EXPECT_NEAR(got[i].logprob, expected.as<float>()[size_t(expected.numel()) - got.size() + i], limit) << key << " token " << i;
  }
}

// The draft head's best guesses, read in pieces, wherever the oracle says that they are not close calls.
TEST_P(Demo, DraftsEqualTransformers) {
  const auto oracle = SafetensorsFile::open(kDemo + "/oracle.safetensors").value();
  auto engine = Engine::create({.model = kDemo + "/model", .dtype = GetParam(), .max_context = 4096, .speculate = 1}).value();
  const float close_call = GetParam() == DTypeChoice::kF32 ? 0.01f : 0.5f;  // bf16: twice its largest error of a logit here
  int64_t compared = 0;
  for (const std::string& key : cases(oracle)) {
    std::vector<int32_t> ids = ids_of(*oracle.find(key + ".input_ids"));
    for (const int32_t id : ids_of(*oracle.find(key + ".greedy_ids"))) ids.push_back(id);
    const Tensor &best = *oracle.find(key + ".mtp_top1"), &margin = *oracle.find(key + ".mtp_margin");
    auto s = engine->open(ids).value();
    while (s->pending() > 0) {
      const int64_t begin = s->computed;
      const Work work{s.get(), std::min<int64_t>(50, s->pending()), WantLogits::kNone};
      const auto step = engine->step({&work, 1}).value();
      for (; s->drafted < std::min(s->computed + 1, s->length()); ++s->drafted) {
        const DraftRows row{s.get(), s->drafted + 1, true};
        const int64_t before = s->drafted - 1;  // the position whose hidden row this one continues
        const auto draft = engine->draft({&row, 1}, step.hidden.slice(0, before - begin, before - begin + 1)).value();
        const float* logits = draft.logits.as<float>();
        if (margin.as<float>()[before] < close_call) continue;
        EXPECT_EQ(std::max_element(logits, logits + draft.logits.dim(1)) - logits, best.as<int32_t>()[before])
            << key << " " << before;
        ++compared;
      }
    }
    EXPECT_EQ(s->drafted, s->length()) << key;
    engine->close(*s);
  }
  EXPECT_GT(compared, 4000);
}

INSTANTIATE_TEST_SUITE_P(DTypes, Demo, ::testing::Values(DTypeChoice::kBF16, DTypeChoice::kF32),
                         [](const auto& info) { return info.param == DTypeChoice::kBF16 ? "bf16" : "fp32"; });

TEST(DemoTexts, PromptsRenderAndEncodeAsInTheOracle) {
  const auto oracle = SafetensorsFile::open(kDemo + "/oracle.safetensors").value();
  const auto about = parse_json(read_small_file(kDemo + "/oracle.json", 1 << 20).value(), "oracle.json").value();
  const auto tokenizer = Tokenizer::load(kDemo + "/model").value();
  for (const auto& c : about.at("cases").as_array()) {
    const std::string key(c.at("key").as_string());
    EXPECT_EQ(tokenizer.encode(std::string_view(c.at("prompt").as_string()), true), ids_of(*oracle.find(key + ".input_ids")))
        << key;
    EXPECT_EQ(tokenizer.decode(ids_of(*oracle.find(key + ".greedy_ids")), true), std::string(c.at("text").as_string())) << key;
  }
}

}  // namespace
}  // namespace sluice
