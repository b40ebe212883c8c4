// The promise of the engine: whatever a request shares steps, pages and snapshots with, however its prompt is cut, whether its
// tokens were guessed ahead, and if it was put aside and taken up again, its tokens and its final state have the same bits as
// alone.
#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>

#include "tests/support/test_model.h"
#include "text/tokenizer.h"

namespace sluice {
namespace {

using testing::kTestModel;

constexpr int64_t kVocab = kTestModel.vocab;

// ---- what is compared ----

struct Outcome {
  std::vector<int32_t> ids;
  std::vector<float> logprobs;
  uint64_t state = 0;
};

class Fingerprint {
 public:
  void add(const void* data, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) h_ = (h_ ^ static_cast<const unsigned char*>(data)[i]) * 0x100000001b3u;
  }
  // Rows [begin, end) of dimension 1 of [N, R, D].
  void add_rows(const Tensor& t, int64_t begin, int64_t end) {
    for (int64_t n = 0; n < t.dim(0); ++n)
      for (int64_t r = begin; r < end; ++r) add(t[n][r].data, t[n][r].bytes());
  }
  uint64_t value() const { return h_; }

 private:
  uint64_t h_ = 0xcbf29ce484222325u;
};

// Everything that a sequence has in the pools: closed state, open rows, the convolution's last inputs, keys and values, and the
// draft head's.
uint64_t state_of(Engine& e, const Sequence& s) {
  Fingerprint f;
  const int64_t open = s.computed % kChunk;
  for (const LinearLayerState& layer : e.pools().linear) {
    if (s.computed >= kChunk) {
      const Tensor state = layer.gdn.s[s.slot], tail = layer.conv_tail[s.slot];
      f.add(state.data, state.bytes()), f.add(tail.data, tail.bytes());
    }
    const Tensor k = layer.gdn.k[s.slot], g = layer.gdn.g[s.slot];
    for (int64_t h = 0; h < k.dim(0); ++h)
      for (int64_t d = 0; d < k.dim(1); ++d) f.add(k[h][d].data, size_t(open) * sizeof(float));
    f.add_rows(layer.gdn.u[s.slot], 0, open);
    for (int64_t h = 0; h < g.dim(0); ++h) f.add(g[h].data, size_t(open) * sizeof(float));
    for (int64_t p = std::max<int64_t>(0, s.computed - 3); p < s.computed; ++p) {
      const Tensor row = layer.conv_ring[s.slot][p % StatePool::kRingRows];
      f.add(row.data, row.bytes());
    }
  }
  for (size_t l = 0; l < e.pools().attention.size(); ++l) {
    const bool head = e.drafting() && l + 1 == e.pools().attention.size();
    for (int64_t p = head ? 1 : 0; p < (head ? std::min(s.drafted, s.computed) : s.computed); ++p)
      for (const Tensor& cache : {e.pools().attention[l].k, e.pools().attention[l].v}) {
        const Tensor row = cache[s.pages[size_t(p / 64)]][p % 64];
        f.add(row.data, row.bytes());
      }
  }
  return f.value();
}

// ---- requests and engines ----

struct Setting {
  int64_t speculate = 0, prefill_chunk = 512, sequences = 1, slots = 0, kv_tokens = 0;
  DTypeChoice dtype = DTypeChoice::kBF16;
  bool poison = true;
};

std::unique_ptr<Engine> make(const Setting& s) {
  auto e = Engine::create({.model = kTestModel.path,
                           .random_weights = kTestModel.random_weights,
                           .dtype = s.dtype,
                           .threads = 2,
                           .prefill_chunk = s.prefill_chunk,
                           .max_context = 640,
                           .max_sequences = s.sequences,
                           .state_slots = s.slots,
                           .kv_tokens = s.kv_tokens,
                           .speculate = s.speculate});
  EXPECT_TRUE(e.ok()) << e.status().to_string();
  if (s.poison) (*e)->states().poison_freed(), (*e)->kv().poison_freed();
  return std::move(e).value();
}

// Texts that the model continues, or answers of few different tokens, so that its drafts come true, and random tokens, so that they
// do not; with beginnings in common, that end within a dozen tokens of a chunk's end.
std::vector<Request> requests(size_t count, std::mt19937_64& rng) {
  const auto below = [&](uint64_t n) { return int64_t(rng() % n); };
  const auto tokenizer = Tokenizer::load(SLUICE_SOURCE_DIR "/demo/model").value();
  std::vector<int32_t> text = tokenizer.encode(
      std::string_view("Tom has 12 apples and buys 30 more. How many apples does he have? 12 + 30 = 42. The answer is 42.\n"),
      false);
  for (int32_t& id : text) id %= int32_t(kVocab);
  std::vector<std::vector<int32_t>> stems;
  for (int i = 0; i < 4; ++i) {
    std::vector<int32_t> ids;
    while (ids.size() < 220)
      if (i % 2) ids.push_back(int32_t(below(kVocab)));
      else ids.insert(ids.end(), text.begin() + below(4), text.end());
    stems.push_back(std::move(ids));
  }
  std::vector<Request> all;
  for (size_t i = 0; i < count; ++i) {
    Request r;
    r.prompt = stems[size_t(below(stems.size()))];
    const int64_t length = std::max<int64_t>(1, 64 * below(4) + below(25) - 12);
    r.prompt.resize(size_t(std::min<int64_t>(length, int64_t(r.prompt.size()))));
    if (below(3) == 0)  // goes another way near its end
      for (int64_t j = below(20); j >= 0 && int64_t(r.prompt.size()) > j; --j)
        r.prompt[r.prompt.size() - 1 - size_t(j)] = int32_t(below(kVocab));
    r.max_tokens = 1 + below(24);
    if (below(2)) r.sampling.params = {.temperature = 0.8f, .top_k = 20, .top_p = 0.95f, .seed = rng()};
    if (below(4) == 0) r.sampling.params.repetition_penalty = 1.3f, r.sampling.params.frequency_penalty = 0.2f;
    if (below(6) == 0)
      for (int32_t first = int32_t(below(kVocab - 2)), i = 0; i < 3; ++i) r.sampling.allowed.push_back(first + i);
    if (below(8) == 0) r.sampling.bad_words = {{int32_t(below(kVocab))}, {r.prompt.back(), int32_t(below(kVocab))}};
    if (below(4) == 0) {
      for (int j = 0; j < 3; ++j) r.sampling.stop_ids.push_back(int32_t(below(kVocab)));
      r.sampling.min_tokens = below(3);
    }
    all.push_back(std::move(r));
  }
  return all;
}

struct Running {
  Request request;
  std::shared_ptr<Outbox> outbox = std::make_shared<Outbox>();
  RequestId id = 0;
  size_t which = 0;
  Outcome got;
  FinishReason finish = FinishReason::kNone;
};

void collect(Running& r) {
  while (const auto e = r.outbox->pop()) {
    for (const SampledToken& t : e->tokens) r.got.ids.push_back(t.id), r.got.logprobs.push_back(t.logprob);
    if (e->finish != FinishReason::kNone) r.finish = e->finish;
    EXPECT_TRUE(e->error.ok()) << e->error.to_string();
  }
}

// Each request by itself in a cold engine, prompt in one piece. The draft head runs, and guesses nothing.
std::vector<Outcome> alone(const std::vector<Request>& all, DTypeChoice dtype) {
  auto engine = make({.speculate = 4, .dtype = dtype});
  std::vector<Outcome> out;
  for (Request r : all) {
    r.use_cache = false, r.speculate = 0;
    Scheduler scheduler(*engine);
    uint64_t state = 0;
    scheduler.on_release([&](RequestId, const Sequence& s) { state = state_of(*engine, s); });
    const Answer a = answer(scheduler, r).value();
    Outcome o{.ids = ids_of(a.tokens), .state = state};
    for (const SampledToken& t : a.tokens) o.logprobs.push_back(t.logprob);
    out.push_back(std::move(o));
  }
  return out;
}

class Schedules {
 public:
  Schedules(size_t pool, DTypeChoice dtype, uint64_t seed)
      : dtype_(dtype), rng_(seed), requests_(requests(pool, rng_)), want_(alone(requests_, dtype)) {}

  // One engine under one random setting, `count` requests that come while others run, some of them cancelled.
  void run(size_t count) {
    const auto pick = [&](std::initializer_list<int64_t> v) { return v.begin()[rng_() % v.size()]; };
    Setting s{.speculate = pick({0, 1, 2, 3, 4}),
              .prefill_chunk = pick({1, 7, 16, 64, 100, 512}),
              .sequences = pick({1, 2, 5, 8}),
              .dtype = dtype_};
    s.slots = pick({1, s.sequences, s.sequences + 2, s.sequences + 12});
    s.kv_tokens = pick({320, 320, 448, 640, 2000, 8192});
    auto engine = make(s);
    {
      Scheduler scheduler(*engine);
      std::map<RequestId, uint64_t> states;
      scheduler.on_release([&](RequestId id, const Sequence& q) { states[id] = q.slot >= 0 ? state_of(*engine, q) : 0; });
      std::vector<Running> running;
      for (size_t sent = 0; sent < count || !scheduler.idle();) {
        while (sent < count && rng_() % 3 == 0) {
          const size_t which = rng_() % requests_.size();
          const uint64_t siblings = rng_() % 4 == 0 ? 2 + rng_() % 4 : 1;
          for (uint64_t i = 0; i < siblings && sent < count; ++i, ++sent) {
            Running& r = running.emplace_back();
            r.which = which;
            Request request = requests_[which];
            request.speculate = int64_t(rng_() % 6) - 1;
            request.priority = int(rng_() % 8 == 0);
            request.use_cache = rng_() % 8 != 0;
            if (rng_() % 8 == 0) request.cache_salt = "somebody else";
            r.id = running.size();
            scheduler.submit(r.id, request, r.outbox);
          }
          // The first of them goes while the others wait for what it computes.
          if (siblings > 1 && rng_() % 3 == 0) {
            for (uint64_t steps = rng_() % 4; steps > 0; --steps) ASSERT_TRUE(scheduler.step().ok());
            scheduler.cancel(running.size() - siblings + 1);
          }
        }
        if (!running.empty() && rng_() % 60 == 0) scheduler.cancel(running[rng_() % running.size()].id);
        ASSERT_TRUE(scheduler.step().ok());
      }
      for (Running& r : running) {
        collect(r);
        check(r, states[r.id], s);
      }
      preemptions_ += scheduler.stats().preemptions;
      accepted_ += scheduler.stats().accepted, drafted_ += scheduler.stats().drafted;
      followed_ += scheduler.stats().followed;
    }
    hits_ += engine->cache().counters().hits, evictions_ += engine->cache().counters().evictions;
    engine->cache().clear();
    EXPECT_EQ(engine->states().free_slots(), engine->states().slots());
    EXPECT_EQ(engine->kv().free_pages(), engine->kv().pages());
  }

  // The schedules must have been of the kind that can go wrong.
  void expect_all_happened() const {
    EXPECT_GT(preemptions_, compared_ / 200);
    EXPECT_GT(hits_, compared_ / 20);
    EXPECT_GT(evictions_, compared_ / 20);
    EXPECT_GT(followed_, compared_ / 100);
    EXPECT_GT(accepted_, compared_ / 20);
    EXPECT_GT(drafted_ - accepted_, compared_ / 20);
    EXPECT_GT(compared_, 0);
  }
  int64_t compared() const { return compared_; }

 private:
  void check(const Running& r, uint64_t state, const Setting& s) {
    const Outcome& want = want_[r.which];
    const std::string what = "request " + std::to_string(r.which) + " (" + std::to_string(requests_[r.which].prompt.size()) +
                             " tokens), speculate " + std::to_string(s.speculate) + ", chunk " + std::to_string(s.prefill_chunk) +
                             ", " + std::to_string(s.sequences) + " at once, " + std::to_string(s.slots) + " slots, " +
                             std::to_string(s.kv_tokens) + " kv tokens";
    ASSERT_NE(r.finish, FinishReason::kNone) << what;
    ASSERT_LE(r.got.ids.size(), want.ids.size()) << what;
    EXPECT_TRUE(std::equal(r.got.ids.begin(), r.got.ids.end(), want.ids.begin())) << what;
    for (size_t i = 0; i < r.got.ids.size(); ++i)
      EXPECT_EQ(std::bit_cast<uint32_t>(r.got.logprobs[i]), std::bit_cast<uint32_t>(want.logprobs[i])) << what << ", token " << i;
    if (r.finish == FinishReason::kCancelled) return;
    EXPECT_EQ(r.got.ids.size(), want.ids.size()) << what;
    if (s.speculate > 0) {
      EXPECT_EQ(state, want.state) << what;
    }
    ++compared_;
  }

  DTypeChoice dtype_;
  std::mt19937_64 rng_;
  std::vector<Request> requests_;
  std::vector<Outcome> want_;
  int64_t preemptions_ = 0, hits_ = 0, evictions_ = 0, followed_ = 0, accepted_ = 0, drafted_ = 0, compared_ = 0;
};

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
  const std::vector<Outcome> want = alone(all, DTypeChoice::kBF16);
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
  const std::vector<Outcome> want = alone(all, DTypeChoice::kBF16);
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
  const std::vector<Outcome> want = alone(all, DTypeChoice::kBF16);
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
  const std::vector<Outcome> want = alone({all[1]}, DTypeChoice::kBF16);
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
  const Outcome want = alone({all[1]}, DTypeChoice::kBF16)[0];
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
  Schedules bf16(kinds, DTypeChoice::kBF16, seed), fp32(kinds / 3, DTypeChoice::kF32, seed);
  while (bf16.compared() < cases * 9 / 10) bf16.run(at_a_time);
  while (fp32.compared() < cases / 10) fp32.run(at_a_time);
  bf16.expect_all_happened();
}

}  // namespace
}  // namespace sluice
