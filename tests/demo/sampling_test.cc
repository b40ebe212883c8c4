// What a request may ask of sampling, from the engine down: the demo model's answers under penalties and lists of tokens.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "engine/scheduler.h"

namespace sluice {
namespace {

const std::string kDemo = SLUICE_SOURCE_DIR "/demo/model";
const std::vector<int32_t> kPrompt{72, 65, 108, 108, 65};

class SamplingTest : public ::testing::Test {
 protected:
  std::vector<int32_t> answer(const SamplingParams& p) {
    Scheduler scheduler(*engine_);
    return ids_of(sluice::answer(scheduler, {.prompt = kPrompt, .sampling = {.params = p}, .max_tokens = 48}).value().tokens);
  }
  static size_t different(const std::vector<int32_t>& ids) { return std::set<int32_t>(ids.begin(), ids.end()).size(); }
  std::unique_ptr<Engine> engine_ = Engine::create({.model = kDemo, .dtype = DTypeChoice::kF32, .max_context = 512}).value();
};

TEST_F(SamplingTest, PenaltiesKeepTheAnswerFromRepeating) {
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

TEST_F(SamplingTest, SameSeedSameTextUnderPenalties) {
  const SamplingParams p{.temperature = 1.2f, .seed = 7, .repetition_penalty = 1.1f, .presence_penalty = 0.2f};
  SamplingParams other = p;
  other.seed = 8;
  EXPECT_EQ(answer(p), answer(p));
  EXPECT_NE(answer(p), answer(other));
}

TEST_F(SamplingTest, ListsAndWhereNothingIsLeft) {
  Scheduler scheduler(*engine_);
  const auto first = [&](Sampling s) {
    return sluice::answer(scheduler, {.prompt = kPrompt, .sampling = std::move(s), .max_tokens = 1}).value().tokens[0].id;
  };
  const int32_t best = first({}), other = best == 3 ? 4 : 3;
  EXPECT_NE(first({.banned = {best}}), best);
  EXPECT_EQ(first({.allowed = {other}}), other);
  EXPECT_EQ(first({.bias = {{other, 1000}}}), other);
  EXPECT_NE(first({.bad_words = {{best}}}), best);
  EXPECT_NE(first({.stop_ids = {best}, .min_tokens = 1}), best);
  const auto none = sluice::answer(scheduler, {.prompt = kPrompt, .sampling = {.allowed = {best}, .banned = {best}}});
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.status().message(), "no token is left to draw at position 5: all are banned or not allowed");
}

TEST_F(SamplingTest, BadWordsOfSeveralTokens) {
  const std::vector<int32_t> plain = answer({});
  Scheduler scheduler(*engine_);
  const auto got =
      sluice::answer(scheduler, {.prompt = kPrompt, .sampling = {.bad_words = {{plain[3], plain[4], plain[5]}}}, .max_tokens = 48});
  const std::vector<int32_t> ids = ids_of(got.value().tokens);
  EXPECT_TRUE(std::equal(ids.begin(), ids.begin() + 5, plain.begin()));
  EXPECT_NE(ids[5], plain[5]);
}

// Log-probabilities of a prompt, in pieces, and of the answer are those of a whole prompt made of both.
TEST_F(SamplingTest, LogprobsOfPromptAndAnswer) {
  Scheduler scheduler(*engine_);
  std::vector<int32_t> prompt;
  for (int i = 0; i < 150; ++i) prompt.push_back(i * 7 % 2048);
  const auto a = sluice::answer(scheduler, {.prompt = prompt, .max_tokens = 6, .top_logprobs = 3}).value();
  for (const SampledToken& t : a.tokens) prompt.push_back(t.id);
  std::vector<SampledToken> scored;
  const auto whole = sluice::answer(scheduler, {.prompt = prompt, .max_tokens = 0, .prompt_logprobs = 3}, [&](const Event& e) {
    scored.insert(scored.end(), e.prompt_logprobs.begin(), e.prompt_logprobs.end());
  });
  ASSERT_TRUE(whole.ok());
  EXPECT_TRUE(whole->tokens.empty());
  ASSERT_EQ(scored.size(), prompt.size() - 1);
  for (size_t i = 0; i < scored.size(); ++i) EXPECT_EQ(scored[i].id, prompt[i + 1]);
  for (size_t i = 0; i < a.tokens.size(); ++i) {
    const SampledToken &drawn = a.tokens[i], &again = scored[scored.size() - a.tokens.size() + i];
    EXPECT_NEAR(drawn.logprob, again.logprob, 1e-5);
    ASSERT_EQ(drawn.best.size(), 3u);
    for (int j = 0; j < 3; ++j) EXPECT_EQ(drawn.best[j].id, again.best[j].id);
    EXPECT_EQ(drawn.best[0].id, drawn.id) << "greedy";
  }
}

}  // namespace
}  // namespace sluice
