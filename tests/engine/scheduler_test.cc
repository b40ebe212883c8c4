// The promise of the engine: whatever a request shares steps, pages and snapshots with, however its prompt is cut, whether its
// tokens were guessed ahead, and if it was put aside and taken up again, its tokens and its final state have the same bits as
// alone.
#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include "models/quantize.h"
#include "tests/support/schedules.h"

namespace sluice {
namespace {

using namespace testing;

// ---- siblings ----

// Eight requests for the same 500 tokens in one engine; their first 448 can be shared.
class Siblings : public ::testing::Test {
 protected:
  static constexpr int64_t kCount = 8, kPrompt = 500, kShared = 448;

  Siblings() {
    std::mt19937_64 rng(5);
    for (int i = 0; i < kPrompt; ++i) request_.prompt.push_back(int32_t(rng() % uint64_t(kVocab)));
    request_.max_tokens = 4;
    use({.prefill_chunk = 64, .sequences = kCount});
  }
  void use(const Setting& setting) {
    scheduler_.reset();
    engine_ = make(setting);
    scheduler_ = std::make_unique<Scheduler>(*engine_);
  }
  void step() { ASSERT_TRUE(scheduler_->step().ok()); }
  void submit(const Request& r) {
    outboxes_.push_back(std::make_shared<Outbox>());
    scheduler_->submit(outboxes_.size(), r, outboxes_.back());
  }
  void submit_all() {
    for (int i = 0; i < kCount; ++i) submit(request_);
  }
  void finish() {
    for (int steps = 0; !scheduler_->idle(); ++steps) {
      step();
      ASSERT_LT(steps, 200);
    }
  }
  int64_t computed() const { return scheduler_->stats().prompt_tokens; }
  // The last event of the answer that was submitted i-th.
  Event end_of(size_t i) {
    Event e;
    while (e.finish == FinishReason::kNone) e = outboxes_[i]->wait();
    return e;
  }

  Request request_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Scheduler> scheduler_;
  std::vector<std::shared_ptr<Outbox>> outboxes_;
};

TEST_F(Siblings, ComputeTheirPromptOnce) {
  submit_all();
  finish();
  EXPECT_EQ(computed(), kPrompt + (kCount - 1) * (kPrompt - kShared));
  EXPECT_EQ(end_of(0).usage.cached_tokens, 0);
  for (size_t i = 1; i < kCount; ++i) EXPECT_EQ(end_of(i).usage.cached_tokens, kShared);
  EXPECT_EQ(scheduler_->stats().followed, kCount - 1);
  EXPECT_EQ(engine_->cache().counters().queries, kCount);
}

TEST_F(Siblings, ThatComeLaterAndPartEarlierShareWhatIsAhead) {
  submit(request_);
  step();
  Request other = request_;
  for (size_t i = 200; i < other.prompt.size(); ++i) other.prompt[i] = (other.prompt[i] + 1) % int32_t(kVocab);
  submit(other);
  submit(other);
  finish();
  EXPECT_EQ(computed(), kPrompt + (kPrompt - 192) + (kPrompt - kShared)) << "the first pauses at 192, the second leads the third";
}

TEST_F(Siblings, FollowOneWhosePromptIsScored) {
  Request scored = request_;
  scored.prompt_logprobs = 0;
  submit(scored);
  submit(request_);
  submit(request_);
  finish();
  EXPECT_EQ(computed(), kPrompt + 2 * (kPrompt - kShared));
}

TEST_F(Siblings, GoOnWhereACancelledOneWas) {
  submit_all();
  step(), step();
  scheduler_->cancel(1);
  finish();
  EXPECT_EQ(computed(), kPrompt + (kCount - 2) * (kPrompt - kShared));
}

TEST_F(Siblings, AreNotHeldByOneThatFails) {
  Request fails = request_;
  fails.sampling.allowed = fails.sampling.banned = {3};
  submit(fails);
  submit(request_);
  submit(request_);
  finish();
  EXPECT_EQ(end_of(0).finish, FinishReason::kError);
  EXPECT_EQ(end_of(1).finish, FinishReason::kLength);
  EXPECT_EQ(computed(), 2 * kPrompt + kPrompt - kShared);
}

// The budget is for all of them at once: who waited for another would draw nothing in the first step.
TEST_F(Siblings, ComputeAloneWithoutTheCacheAndUnderOtherSalts) {
  use({.prefill_chunk = 4 * kPrompt, .sequences = kCount});
  submit(request_);
  Request r = request_;
  r.use_cache = false;
  submit(r);
  r.use_cache = true, r.cache_salt = "somebody else";
  submit(r);
  step();
  EXPECT_EQ(scheduler_->stats().generated_tokens, 3);
  r.cache_salt.clear(), r.prompt_logprobs = 0;  // whose every token must be computed
  submit(r);
  finish();
  EXPECT_EQ(computed(), 4 * kPrompt);
  EXPECT_EQ(scheduler_->stats().followed, 0);
}

// A slot for each and none for snapshots: they cannot share, and must not wait for ever.
TEST_F(Siblings, ComputeAloneWhereNoSnapshotFits) {
  use({.prefill_chunk = 64, .sequences = kCount, .slots = kCount});
  submit_all();
  finish();
  EXPECT_EQ(scheduler_->stats().finished, kCount);
}

std::vector<Request> long_requests(size_t count, std::mt19937_64& rng) {
  std::vector<Request> all = requests(count, rng);
  for (Request& r : all) {
    while (r.prompt.size() < 90) r.prompt.push_back(int32_t(rng() % kVocab));
    r.prompt.resize(90 + rng() % 40);
    r.max_tokens = 60;
    r.sampling.stop_ids.clear(), r.sampling.min_tokens = 0;
  }
  return all;
}

// Fault 22: slots are all taken, or pages, or both. Who finds no slot waits, and when pages run out the youngest gives way; all end
// as if each were alone.
TEST(Scheduler, FullPoolsQueueAndTheYoungestGivesWay) {
  std::mt19937_64 rng(11);
  const std::vector<Request> all = long_requests(4, rng);
  const std::vector<Outcome> want = alone(all, {});
  for (const int64_t slots : {1, 2, 4})
    for (const int64_t kv_tokens : {256, 8192}) {
      const bool cache = kv_tokens == 256;
      const std::string what =
          std::to_string(slots) + " slots, " + std::to_string(kv_tokens) + " kv tokens, cache " + (cache ? "on" : "off");
      auto engine = make({.sequences = 4, .slots = slots, .kv_tokens = kv_tokens});
      Scheduler scheduler(*engine);
      std::vector<Running> running(all.size());
      std::vector<int64_t> preemptions(all.size()), order;
      for (size_t i = 0; i < all.size(); ++i) {
        Request r = all[i];
        r.use_cache = cache;
        scheduler.submit(i + 1, r, running[i].outbox);
      }
      for (size_t ended = 0; ended < all.size();) {
        ASSERT_TRUE(scheduler.step().ok()) << what;
        ASSERT_LE(scheduler.stats().running, slots) << what;
        for (size_t i = 0; i < all.size(); ++i)
          while (const auto e = running[i].outbox->pop()) {
            for (const SampledToken& t : e->tokens)
              running[i].got.ids.push_back(t.id), running[i].got.logprobs.push_back(t.logprob);
            if (e->finish == FinishReason::kNone) continue;
            EXPECT_EQ(e->finish, FinishReason::kLength) << what << e->error.to_string();
            preemptions[i] = e->usage.preemptions, order.push_back(int64_t(i)), ++ended;
          }
      }
      for (size_t i = 0; i < all.size(); ++i) {
        EXPECT_EQ(running[i].got.ids, want[i].ids) << what << ", request " << i;
        EXPECT_EQ(running[i].got.logprobs, want[i].logprobs) << what << ", request " << i;
      }
      EXPECT_EQ(preemptions[0], 0) << what << ": the oldest goes on";
      const bool crowded = slots > 1 && kv_tokens == 256;
      if (crowded) {
        EXPECT_GT(scheduler.stats().preemptions, 0) << what;
      }
      if (slots == 1 || kv_tokens == 8192) {
        EXPECT_EQ(scheduler.stats().preemptions, 0) << what;
      }
      if (slots == 1) {
        EXPECT_TRUE(std::ranges::is_sorted(order)) << what << ": one after another";
      }
      engine->cache().clear();
      EXPECT_EQ(engine->states().free_slots(), engine->states().slots()) << what;
      EXPECT_EQ(engine->kv().free_pages(), engine->kv().pages()) << what;
    }
}

// Fault 22: what no pool of this size can hold is refused when it comes, and disturbs nobody.
TEST(Scheduler, WhatCanNeverFitIsRefusedAtOnce) {
  std::mt19937_64 rng(12);
  const std::vector<Request> all = long_requests(1, rng);
  const std::vector<Outcome> want = alone(all, {});
  auto engine = make({.slots = 1, .kv_tokens = 256});
  Scheduler scheduler(*engine);
  Running good, bad;
  scheduler.submit(1, all[0], good.outbox);
  scheduler.submit(2, {.prompt = std::vector<int32_t>(300, 5)}, bad.outbox);
  const auto refused = bad.outbox->pop();
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->finish, FinishReason::kError);
  EXPECT_EQ(refused->error.message(), "the prompt has 300 tokens, the context holds 256");
  while (!scheduler.idle()) ASSERT_TRUE(scheduler.step().ok());
  collect(good);
  EXPECT_EQ(good.got.ids, want[0].ids);
}

// One that cannot be sampled ends alone, before a step, and those that run beside it go on.
TEST(Scheduler, WhatCannotBeSampledIsRefusedAtOnce) {
  std::mt19937_64 rng(13);
  const std::vector<Request> all = long_requests(1, rng);
  const std::vector<Outcome> want = alone(all, {});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<std::pair<Request, std::string>> bad{
      {{.top_logprobs = 21}, "top_logprobs is 21, wanted 0 to 20"},
      {{.prompt_logprobs = 21}, "prompt_logprobs is 21, wanted -1 to 20"},
  };
  const std::string wanted = ", wanted 0 to " + std::to_string(kVocab - 1);
  const std::string above = " has token " + std::to_string(kVocab) + wanted;
  const std::pair<Sampling, std::string> bad_sampling[] = {
      {{.params = {.temperature = nan}}, "temperature is nan, wanted 0 or more"},
      {{.params = {.top_k = -1}}, "top_k is -1.000000, wanted 0 (all) or more"},
      {{.params = {.top_p = 0}}, "top_p is 0.000000, wanted more than 0, at most 1"},
      {{.params = {.min_p = 2}}, "min_p is 2.000000, wanted 0 to 1"},
      {{.params = {.repetition_penalty = -1}}, "repetition_penalty is -1.000000, wanted more than 0"},
      {{.params = {.presence_penalty = nan}}, "presence_penalty is nan, wanted a finite number"},
      {{.bias = {{kVocab, 1}}}, "bias" + above},
      {{.bias = {{3, nan}}}, "bias of token 3 is not finite"},
      {{.allowed = {-1}}, "allowed has token -1" + wanted},
      {{.bad_words = {{5, kVocab}}}, "bad_words: banned" + above},
      {{.banned = {kVocab}}, "banned" + above},
      {{.stop_ids = {kVocab}, .min_tokens = 1}, "stop_ids: banned" + above},
  };
  for (const auto& [sampling, message] : bad_sampling) bad.push_back({{.sampling = sampling}, message});
  auto engine = make({.sequences = 20});
  Scheduler scheduler(*engine);
  Running good;
  scheduler.submit(1, all[0], good.outbox);
  RequestId id = 1;
  for (auto& [request, message] : bad) {
    Running one;
    request.prompt = {1, 2, 3};
    scheduler.submit(++id, request, one.outbox);
    EXPECT_TRUE(scheduler.step().ok()) << message;
    const auto refused = one.outbox->pop();
    ASSERT_TRUE(refused) << message;
    EXPECT_EQ(refused->finish, FinishReason::kError);
    EXPECT_EQ(refused->error.message(), message);
  }
  EXPECT_EQ(scheduler.stats().failed, int64_t(bad.size()));
  while (!scheduler.idle()) ASSERT_TRUE(scheduler.step().ok());
  collect(good);
  EXPECT_EQ(good.got.ids, want[0].ids);
}

// What is in the cache comes to be no number: the request is computed again to say where, within the budget, behind one that came
// later, and as its memory is sound now there is no layer to name.
TEST(Scheduler, WhatIsNotFiniteIsExplainedWhileOthersGoOn) {
  std::mt19937_64 rng(14);
  const std::vector<Request> all = long_requests(2, rng);
  const std::vector<Outcome> want = alone({all[1]}, {});
  auto engine = make({.prefill_chunk = 16, .sequences = 2});
  Scheduler scheduler(*engine);
  Running bad, good;
  scheduler.submit(1, all[0], bad.outbox);
  while (bad.got.ids.empty()) {
    ASSERT_TRUE(scheduler.step().ok());
    collect(bad);
  }
  const Tensor keys = engine->pools().attention[0].k;
  std::memset(keys.data, 0xff, keys.bytes());
  scheduler.submit(2, all[1], good.outbox);
  std::optional<Event> end;
  for (int steps = 0; !end; ++steps) {
    const int64_t before = scheduler.stats().prompt_tokens;
    ASSERT_TRUE(scheduler.step().ok());
    ASSERT_LE(scheduler.stats().prompt_tokens, before + 16);
    while (const auto e = bad.outbox->pop())
      if (e->finish != FinishReason::kNone) end = e;
    ASSERT_LT(steps, 100);
  }
  collect(good);
  EXPECT_FALSE(good.got.ids.empty()) << "it did not wait";
  EXPECT_EQ(end->finish, FinishReason::kError);
  EXPECT_EQ(end->error.message(), "the model's logits are not finite");
  EXPECT_EQ(end->usage.completion_tokens, int64_t(bad.got.ids.size()));
  EXPECT_EQ(scheduler.stats().not_finite, 1);
  EXPECT_EQ(scheduler.stats().failed, 1);
  while (!scheduler.idle()) ASSERT_TRUE(scheduler.step().ok());
  collect(good);
  EXPECT_EQ(good.got.ids, want[0].ids);
  engine->cache().clear();
  EXPECT_EQ(engine->states().free_slots(), engine->states().slots());
  EXPECT_EQ(engine->kv().free_pages(), engine->kv().pages());
}

// Fault 32: the only slot goes from a request that is cancelled, at any step, to another one. It sees neither the old state nor
// the poison of what was freed.
TEST(Scheduler, ASlotTakenOverFromAnAbortedRequestIsAsNew) {
  std::mt19937_64 rng(13);
  std::vector<Request> all = long_requests(2, rng);
  all[1].max_tokens = 12;
  const Outcome want = alone({all[1]}, {})[0];
  for (const bool poison : {false, true})
    for (const int64_t speculate : {0, 2})
      for (const int steps : {0, 1, 5, 9, 30}) {
        auto engine = make({.speculate = speculate, .prefill_chunk = 16, .slots = 1, .poison = poison});
        Scheduler scheduler(*engine);
        uint64_t state = 0;
        scheduler.on_release([&](RequestId id, const Sequence& s) {
          if (id == 2) state = state_of(*engine, s);
        });
        Running a, b;
        scheduler.submit(1, all[0], a.outbox);
        scheduler.submit(2, all[1], b.outbox);
        for (int i = 0; i < steps; ++i) ASSERT_TRUE(scheduler.step().ok());
        scheduler.cancel(1);
        while (!scheduler.idle()) ASSERT_TRUE(scheduler.step().ok());
        collect(a), collect(b);
        const std::string what = "cancelled after " + std::to_string(steps) + " steps, poison " + std::to_string(poison);
        EXPECT_EQ(a.finish, FinishReason::kCancelled) << what;
        EXPECT_EQ(b.got.ids, want.ids) << what;
        EXPECT_EQ(b.got.logprobs, want.logprobs) << what;
        if (speculate > 0) {
          EXPECT_EQ(state, want.state) << what;
        }
      }
}

// SLUICE_CASES: how many requests are compared; SLUICE_SEED: another set of schedules.
TEST(Scheduler, SameBitsUnderAnySchedule) {
  const char *wanted = std::getenv("SLUICE_CASES"), *seed_text = std::getenv("SLUICE_SEED");
  const uint64_t seed = seed_text ? uint64_t(std::atoll(seed_text)) : 7;
#if defined(__SANITIZE_THREAD__)
  constexpr int64_t kCases = 80;
#elif defined(__SANITIZE_ADDRESS__)
  constexpr int64_t kCases = 200;
#else
  constexpr int64_t kCases = 2000;
#endif
  const int64_t cases = wanted ? std::atoll(wanted) : kCases;
  const size_t kinds = size_t(std::clamp<int64_t>(cases / 4, 20, 60)), at_a_time = size_t(std::clamp<int64_t>(cases / 8, 10, 50));
  Schedules bf16(kinds, {}, seed), fp32(kinds / 3, {.dtype = DTypeChoice::kF32}, seed);
  while (bf16.compared() < cases * 9 / 10) bf16.run(at_a_time);
  while (fp32.compared() < cases / 10) fp32.run(at_a_time);
  for (const Quantize& q : {quantize_as(CodeType::kInt8, 0), quantize_as(CodeType::kInt4, 32)}) {
    Schedules quantized(kinds / 3, {.quantize = q}, seed);
    while (quantized.compared() < cases / 20) quantized.run(at_a_time / 2);
  }
  bf16.expect_all_happened();
}

}  // namespace
}  // namespace sluice
