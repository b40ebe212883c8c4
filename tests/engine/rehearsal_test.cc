#include "engine/rehearsal.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/scheduler.h"

namespace sluice {
namespace {

const std::string kModel = SLUICE_SOURCE_DIR "/demo/model";
constexpr int64_t kPromptTokens = 128;

std::unique_ptr<Engine> make_engine(int64_t speculate) {
  return Engine::create({.model = kModel,
                         .threads = 2,
                         .prefill_chunk = kPromptTokens,
                         .max_context = 2048,
                         .max_sequences = 6,
                         .speculate = speculate})
      .value();
}

// Requests of all kinds, together. The largest workspace that a step of them took.
size_t peak_of_requests(Engine& engine) {
  std::mt19937 rng(1);
  Scheduler scheduler(engine);
  std::vector<std::shared_ptr<Outbox>> outboxes;
  for (int i = 0; i < 16; ++i) {
    Request r{.max_tokens = int64_t(1 + rng() % 4), .use_cache = i % 3 == 0};
    r.prompt.assign(1 + rng() % 150, 0);
    for (int32_t& id : r.prompt) id = int32_t(rng() % 2000);
    r.sampling.params = {.temperature = 1, .top_p = 0.9f, .seed = rng(), .repetition_penalty = 1.2f};
    r.top_logprobs = 20;
    if (i % 2) r.prompt_logprobs = 20;
    outboxes.push_back(std::make_shared<Outbox>());
    scheduler.submit(uint64_t(i), std::move(r), outboxes.back());
  }
  while (!scheduler.idle()) EXPECT_TRUE(scheduler.step().ok());
  return engine.context().arena->peak();
}

TEST(Rehearsal, NoStepTakesMoreWorkspace) {
  for (const int64_t speculate : {0, 2}) {
    const auto one = make_engine(speculate), other = make_engine(speculate);
    const Status done = rehearse(*one, kPromptTokens);
    ASSERT_TRUE(done.ok()) << done.to_string();
    const size_t rehearsed = one->context().arena->peak(), used = peak_of_requests(*other);
    EXPECT_LE(used, rehearsed);
    EXPECT_GT(used, rehearsed / 4) << "the rehearsal is not of the same kind";
  }
}

}  // namespace
}  // namespace sluice
