// Requests under random schedules, held to what each says alone: tokens, log-probabilities and the bits of the final state. On any
// device (scheduler_test: the CPU; invariant_test: a GPU with --batch-invariant).
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>

#include "core/memory.h"
#include "engine/scheduler.h"
#include "tests/support/test_model.h"
#include "text/tokenizer.h"

namespace sluice::testing {

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
  // In order of the indices, however the elements lie.
  void add(const Tensor& t) {
    if (t.contiguous()) return add(t.data, t.bytes());
    for (int64_t i = 0; i < t.dim(0); ++i)
      if (t.rank > 1) add(t[i]);
      else add(static_cast<const char*>(t.data) + i * t.stride[0] * int64_t(dtype_size(t.dtype)), dtype_size(t.dtype));
  }
  uint64_t value() const { return h_; }

 private:
  uint64_t h_ = 0xcbf29ce484222325u;
};

// A tensor without gaps where the CPU sees it.
class Seen {
 public:
  Seen(Engine& e, const Tensor& t) : memory_(t.span_bytes()), tensor_(t) {
    EXPECT_TRUE(to_host(e.context(), t.data, memory_.size(), memory_.data()).ok());
    tensor_.data = memory_.data(), tensor_.device = {};
  }
  const Tensor& operator*() const { return tensor_; }
  const Tensor* operator->() const { return &tensor_; }

 private:
  std::vector<std::byte> memory_;
  Tensor tensor_;
};

// Everything that a sequence has in the pools: closed state, open rows, the convolution's last inputs, keys and values, and the
// draft head's.
inline uint64_t state_of(Engine& e, const Sequence& s) {
  constexpr int64_t kPage = KvPool::kPageTokens;
  Fingerprint f;
  const int64_t open = s.computed % kChunk;
  for (const LinearLayerState& layer : e.pools().linear) {
    if (s.computed >= kChunk) f.add(*Seen(e, layer.gdn.s[s.slot])), f.add(*Seen(e, layer.conv_tail[s.slot]));
    f.add(Seen(e, layer.gdn.k[s.slot])->slice(2, 0, open));
    f.add(Seen(e, layer.gdn.u[s.slot])->slice(1, 0, open));
    f.add(Seen(e, layer.gdn.g[s.slot])->slice(1, 0, open));
    const Seen ring(e, layer.conv_ring[s.slot]);
    for (int64_t p = std::max<int64_t>(0, s.computed - 3); p < s.computed; ++p) f.add((*ring)[p % StatePool::kRingRows]);
  }
  for (size_t l = 0; l < e.pools().attention.size(); ++l) {
    const bool head = e.drafting() && l + 1 == e.pools().attention.size();
    const int64_t begin = head ? 1 : 0, end = head ? std::min(s.drafted, s.computed) : s.computed;
    for (int64_t page = 0; page * kPage < end; ++page)
      for (const Tensor& cache : {e.pools().attention[l].k, e.pools().attention[l].v})
        f.add(Seen(e, cache[s.pages[size_t(page)]])->slice(0, page == 0 ? begin : 0, std::min(end - page * kPage, kPage)));
  }
  return f.value();
}

// ---- requests and engines ----

struct Setting {
  int64_t speculate = 0, prefill_chunk = 512, sequences = 1, slots = 0, kv_tokens = 0;
  DTypeChoice dtype = DTypeChoice::kBF16;
  bool poison = true;
  Device device{};
  bool batch_invariant = false;
  std::optional<Quantize> quantize = {};
};

inline std::unique_ptr<Engine> make(const Setting& s) {
  auto e = Engine::create({.model = kTestModel.path,
                           .random_weights = kTestModel.random_weights,
                           .dtype = s.dtype,
                           .quantize = s.quantize,
                           .device = s.device,
                           .threads = 2,
                           .workspace = size_t(1) << 28,
                           .prefill_chunk = s.prefill_chunk,
                           .max_context = 640,
                           .max_sequences = s.sequences,
                           .state_slots = s.slots,
                           .kv_tokens = s.kv_tokens,
                           .speculate = s.speculate,
                           .batch_invariant = s.batch_invariant});
  EXPECT_TRUE(e.ok()) << e.status().to_string();
  if (s.poison) (*e)->states().poison_freed(), (*e)->kv().poison_freed();
  return std::move(e).value();
}

// Texts that the model continues, or answers of few different tokens, so that its drafts come true, and random tokens, so that they
// do not; with beginnings in common, that end within a dozen tokens of a chunk's end, of the first `chunks`.
inline std::vector<Request> requests(size_t count, std::mt19937_64& rng, int64_t chunks = 4) {
  const auto below = [&](uint64_t n) { return int64_t(rng() % n); };
  const auto tokenizer = Tokenizer::load(SLUICE_SOURCE_DIR "/demo/model").value();
  std::vector<int32_t> text = tokenizer.encode(
      std::string_view("Tom has 12 apples and buys 30 more. How many apples does he have? 12 + 30 = 42. The answer is 42.\n"),
      false);
  for (int32_t& id : text) id %= int32_t(kVocab);
  std::vector<std::vector<int32_t>> stems;
  for (int i = 0; i < 4; ++i) {
    std::vector<int32_t> ids;
    while (int64_t(ids.size()) < 64 * chunks - 36)
      if (i % 2) ids.push_back(int32_t(below(kVocab)));
      else ids.insert(ids.end(), text.begin() + below(4), text.end());
    stems.push_back(std::move(ids));
  }
  std::vector<Request> all;
  for (size_t i = 0; i < count; ++i) {
    Request r;
    r.prompt = stems[size_t(below(stems.size()))];
    const int64_t length = std::max<int64_t>(1, 64 * below(uint64_t(chunks)) + below(25) - 12);
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

inline void collect(Running& r) {
  while (const auto e = r.outbox->pop()) {
    for (const SampledToken& t : e->tokens) r.got.ids.push_back(t.id), r.got.logprobs.push_back(t.logprob);
    if (e->finish != FinishReason::kNone) r.finish = e->finish;
    EXPECT_TRUE(e->error.ok()) << e->error.to_string();
  }
}

// Each request by itself in a cold engine, prompt in one piece. The draft head runs, and guesses nothing.
inline std::vector<Outcome> alone(const std::vector<Request>& all, Setting like) {
  like.speculate = 4;
  auto engine = make(like);
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
  // Engines are like `like` in what their schedules do not say.
  Schedules(size_t pool, const Setting& like, uint64_t seed, int64_t chunks = 4)
      : like_(like), rng_(seed), requests_(requests(pool, rng_, chunks)), want_(alone(requests_, like)) {}

  // One engine under one random setting, `count` requests that come while others run, some of them cancelled.
  void run(size_t count) {
    const auto pick = [&](std::initializer_list<int64_t> v) { return v.begin()[rng_() % v.size()]; };
    Setting s = like_;
    s.speculate = pick({0, 1, 2, 3, 4});
    s.prefill_chunk = pick({1, 7, 16, 64, 100, 512});
    s.sequences = pick({1, 2, 5, 8});
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

  Setting like_;
  std::mt19937_64 rng_;
  std::vector<Request> requests_;
  std::vector<Outcome> want_;
  int64_t preemptions_ = 0, hits_ = 0, evictions_ = 0, followed_ = 0, accepted_ = 0, drafted_ = 0, compared_ = 0;
};

}  // namespace sluice::testing
