// What a request may ask of sampling, from the engine down: the demo model's answers under penalties and lists of tokens.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "engine/generation.h"

namespace sluice {
namespace {

const std::string kDemo = SLUICE_SOURCE_DIR "/demo/model";
const std::vector<int32_t> kPrompt{72, 65, 108, 108, 65};

class Sampling : public ::testing::Test {
 protected:
  std::vector<int32_t> answer(const SamplingParams& p) {
    return ids_of(generate(*engine_, kPrompt, {.sampling = p, .max_tokens = 48}).value());
  }
  static size_t different(const std::vector<int32_t>& ids) { return std::set<int32_t>(ids.begin(), ids.end()).size(); }
  std::unique_ptr<Engine> engine_ = Engine::create({.model = kDemo, .dtype = DTypeChoice::kF32, .max_context = 512}).value();
};

TEST_F(Sampling, PenaltiesKeepTheAnswerFromRepeating) {
  const std::vector<int32_t> plain = answer({});
  ASSERT_LT(different(plain), plain.size()) << "the case shows nothing: the plain answer does not repeat a token";
  // So strong that no token comes twice.
  const std::vector<int32_t> frequency = answer({.frequency_penalty = 1000}), presence = answer({.presence_penalty = 1000});
  EXPECT_EQ(different(frequency), frequency.size());
  EXPECT_EQ(presence, frequency);
  EXPECT_EQ(frequency[0], plain[0]);  // the prompt does not count
  // Over the prompt too: none of its tokens comes back.
  for (const int32_t id : answer({.repetition_penalty = 1e6f}))
    EXPECT_EQ(std::ranges::count(kPrompt, id), 0) << "token " << id << " of the prompt";
}

TEST_F(Sampling, SameSeedSameTextUnderPenalties) {
  const SamplingParams p{.temperature = 1.2f, .seed = 7, .repetition_penalty = 1.1f, .presence_penalty = 0.2f};
  SamplingParams other = p;
  other.seed = 8;
  EXPECT_EQ(answer(p), answer(p));
  EXPECT_NE(answer(p), answer(other));
}

TEST_F(Sampling, DrawTakesListsAndSaysWhereNothingIsLeft) {
  const auto sequence = engine_->open(kPrompt).value();
  const Tensor logits = engine_->prefill(*sequence).value();
  const auto drawn = [&](const SampleRow& adjust) { return engine_->draw(*sequence, logits, 0, {}, adjust); };
  const int32_t best = drawn({}).value().id;
  const std::vector<int32_t> only{best};
  EXPECT_NE(drawn({.banned = only}).value().id, best);
  const std::vector<int32_t> other{best == 3 ? 4 : 3};
  EXPECT_EQ(drawn({.allowed = other}).value().id, other[0]);
  const std::vector<LogitBias> bias{{other[0], 1000}};
  EXPECT_EQ(drawn({.bias = bias}).value().id, other[0]);
  const auto none = drawn({.banned = only, .allowed = only});
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(none.status().message(), "no token is left to draw at position 5: all are banned or not allowed");
  engine_->close(*sequence);
}

}  // namespace
}  // namespace sluice
