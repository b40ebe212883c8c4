// Snapshots in int8: what is restored is as near as the operator says and the rest exact, a hit's logits stay near a miss's, as
// many fit as their bytes allow, and nothing is left behind.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "core/context.h"
#include "engine/scheduler.h"
#include "tests/support/test_model.h"

namespace sluice {
namespace {

using testing::kTestModel;

constexpr int64_t kVocab = kTestModel.vocab;

constexpr PoolSpec kSpec{.linear_layers = 3,
                         .key_heads = 1,
                         .value_heads = 2,
                         .key_dim = 16,
                         .value_dim = 32,
                         .conv_channels = 64,
                         .conv_width = 4,
                         .attention_layers = 1,
                         .kv_heads = 1,
                         .head_dim = 16,
                         .hidden_size = 24};

class Int8Pool : public ::testing::Test {
 protected:
  // `others` slots' memory for snapshots.
  void make(int64_t running, int64_t others, const PoolSpec& spec = kSpec) {
    pool = StatePool::create(spec, running + others, runtime->context(), running).value();
    pool.poison_freed();
  }
  // Numbers that differ by slot, layer and part.
  void fill(int32_t slot, float seed) {
    std::mt19937 rng(unsigned(seed * 1000));
    std::normal_distribution<float> normal(0, seed);
    for (const LinearLayerState& layer : pool.layers())
      for (const Tensor& t : {layer.gdn.s[slot], layer.conv_tail[slot]})
        for (int64_t i = 0; i < t.numel(); ++i) t.as<float>()[i] = normal(rng);
    for (int64_t i = 0; i < kSpec.hidden_size; ++i) pool.closed_hidden()[slot].as<Bf16>()[i] = Bf16(normal(rng));
  }

  std::unique_ptr<CpuRuntime> runtime = CpuRuntime::create(2).value();
  StatePool pool;
};

TEST_F(Int8Pool, AStateComesBackWithinHalfAScaleAndTheRestExactly) {
  make(3, 1);
  const int32_t a = pool.acquire().value(), b = pool.acquire().value();
  fill(a, 1), fill(b, 30);
  const int32_t snapshot = pool.snapshot(a).value(), other = pool.freeze(b).value();
  EXPECT_EQ(pool.free_slots(), 2) << "the frozen slot is free, the other one lives on";
  const int32_t resumed = pool.resume(snapshot).value();
  double errors = 0, squares = 0;
  for (const LinearLayerState& layer : pool.layers()) {
    const Tensor want = layer.gdn.s[a], got = layer.gdn.s[resumed];
    const int64_t D = kSpec.value_dim;
    for (int64_t row = 0; row < want.numel() / D; ++row) {
      float most = 0;
      for (int64_t d = 0; d < D; ++d) most = std::max(most, std::abs(want.as<float>()[row * D + d]));
      for (int64_t d = 0; d < D; ++d) {
        const double e = double(got.as<float>()[row * D + d]) - want.as<float>()[row * D + d];
        ASSERT_LE(std::abs(e), most / 254 * (1 + 1e-4));
        errors += e * e, squares += std::pow(want.as<float>()[row * D + d], 2);
      }
    }
    for (const auto& [exact, to] :
         {std::pair{layer.conv_tail[a], layer.conv_tail[resumed]}, {layer.conv_tail[a], layer.conv_ring[resumed].slice(0, 13, 16)}})
      EXPECT_EQ(std::memcmp(exact.data, to.data, exact.bytes()), 0);
  }
  EXPECT_GT(errors, 0) << "it was not kept in int8 at all";
  EXPECT_LT(std::sqrt(errors / squares), 0.01);
  for (const Tensor& hidden : {pool.closed_hidden()[resumed], pool.resumed_hidden()[resumed]})
    EXPECT_EQ(std::memcmp(pool.closed_hidden()[a].data, hidden.data, hidden.bytes()), 0);
  EXPECT_EQ(pool.int8_snapshots()->errors().total(), 2);
  pool.release_snapshot(other), pool.release_snapshot(snapshot), pool.release(a), pool.release(resumed);
  EXPECT_EQ(pool.free_slots(), 3);
  EXPECT_EQ(pool.free_snapshots(), pool.int8_snapshots()->places());
}

// The memory of the slots that are not for sequences, and no more of it than that.
TEST_F(Int8Pool, AsManyFitAsTheirBytesAllow) {
  make(2, 5);
  const Int8Snapshots& int8 = *pool.int8_snapshots();
  EXPECT_EQ(pool.slots(), 2);
  EXPECT_EQ(int8.places(), int64_t(5 * pool.slot_bytes() / int8.place_bytes()));
  const PoolSpec qwen{.linear_layers = 18,
                      .key_heads = 16,
                      .value_heads = 16,
                      .key_dim = 128,
                      .value_dim = 128,
                      .conv_channels = 6144,
                      .conv_width = 4};
  make(1, 4, qwen);
  const double states = 4.0 * 18 * 16 * 128 * 128, closed = states + 4.0 * 18 * 3 * 6144;
  const auto place = double(pool.int8_snapshots()->place_bytes());
  EXPECT_LT(place, closed - states * (1 - 1 / 3.8)) << "states take less than 1/3.8 of what they did";
  EXPECT_EQ(pool.int8_snapshots()->places(), 29) << "in the memory of four slots";
}

TEST_F(Int8Pool, SnapshotsAreCountedByTheirUsersAndFreedOnesAreGone) {
  make(2, 1);
  const int32_t live = pool.acquire().value();
  fill(live, 2);
  const int64_t places = pool.free_snapshots();
  std::vector<int32_t> all;
  for (int64_t i = 0; i < places; ++i) all.push_back(pool.snapshot(live).value());
  EXPECT_EQ(pool.snapshot(live).status().code(), Code::kResourceExhausted);
  EXPECT_EQ(pool.freeze(live).status().code(), Code::kResourceExhausted);
  EXPECT_EQ(pool.free_slots(), 1) << "a slot that cannot be frozen lives on";
  pool.retain(all[0]);
  pool.release_snapshot(all[0]);
  EXPECT_EQ(pool.free_snapshots(), 0) << "one user is left";
  pool.release_snapshot(all[0]);
  EXPECT_EQ(pool.free_snapshots(), 1);
  EXPECT_EQ(pool.snapshot(live).value(), all[0]);
}

TEST_F(Int8Pool, AStateThatIsNotFiniteIsNotKept) {
  make(1, 1);
  const int32_t live = pool.acquire().value();
  fill(live, 1);
  const int64_t places = pool.free_snapshots();
  pool.layers()[2].gdn.s[live].as<float>()[77] = INFINITY;
  EXPECT_EQ(pool.snapshot(live).status().code(), Code::kModelError);
  EXPECT_EQ(pool.free_snapshots(), places);
  EXPECT_EQ(pool.int8_snapshots()->errors().total(), 0);
}

TEST_F(Int8Pool, OddHeadsAreRefused) {
  PoolSpec odd = kSpec;
  odd.value_dim = 24;
  EXPECT_EQ(StatePool::create(odd, 2, runtime->context(), 1).status().to_string(),
            "snapshots in int8 need heads of a multiple of 16 values, not 24; use --snapshots fp32");
}

// ---- requests ----

std::unique_ptr<Engine> make_engine(bool int8, int64_t slots, int64_t speculate = 0, int64_t sequences = 4) {
  auto e = Engine::create({.model = kTestModel.path,
                           .random_weights = kTestModel.random_weights,
                           .dtype = DTypeChoice::kF32,
                           .threads = 2,
                           .prefill_chunk = 100,
                           .max_context = 640,
                           .max_sequences = sequences,
                           .state_slots = slots,
                           .kv_tokens = 4096,
                           .speculate = speculate,
                           .int8_snapshots = int8});
  EXPECT_TRUE(e.ok()) << e.status().to_string();
  (*e)->states().poison_freed(), (*e)->kv().poison_freed();
  return std::move(e).value();
}

void expect_pools_at_base(Engine& e) {
  e.cache().clear();
  EXPECT_EQ(e.states().free_slots(), e.states().slots());
  EXPECT_EQ(e.states().free_snapshots(), e.states().int8_snapshots()->places());
  EXPECT_EQ(e.kv().free_pages(), e.kv().pages());
}

std::vector<int32_t> random_prompt(std::mt19937_64& rng, int64_t length) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < length; ++i) ids.push_back(int32_t(rng() % uint64_t(kVocab)));
  return ids;
}

// A request's first token, and that of the same request again, which goes on from a snapshot, each with the best 20.
struct Twice {
  SampledToken miss, hit;
  int64_t cached = 0;
};

Twice ask_twice(Engine& engine, std::vector<int32_t> prompt) {
  Scheduler scheduler(engine);
  const auto ask = [&] { return answer(scheduler, {.prompt = prompt, .max_tokens = 1, .top_logprobs = 20}).value(); };
  const Answer miss = ask(), hit = ask();
  return {miss.tokens[0], hit.tokens[0], hit.usage.cached_tokens};
}

// Between the log-probabilities of what is among the best of both.
double furthest(const SampledToken& a, const SampledToken& b) {
  double most = 0;
  for (const TokenLogprob& x : a.best)
    for (const TokenLogprob& y : b.best)
      if (x.id == y.id) most = std::max(most, std::abs(double(x.logprob) - double(y.logprob)));
  return most;
}

TEST(Int8Snapshots, AHitIsNearAMissAndNotTheSame) {
  std::mt19937_64 rng(3);
  const auto int8 = make_engine(true, 8), fp32 = make_engine(false, 8);
  double worst = 0;
  for (const int64_t length : {65, 100, 127, 200, 330, 500}) {
    const std::vector<int32_t> prompt = random_prompt(rng, length);
    const Twice exact = ask_twice(*fp32, prompt), near = ask_twice(*int8, prompt);
    EXPECT_EQ(exact.cached, (length - 1) / 64 * 64);
    EXPECT_EQ(near.cached, exact.cached);
    EXPECT_EQ(furthest(exact.miss, exact.hit), 0) << length;
    EXPECT_EQ(furthest(exact.miss, near.miss), 0) << length << ": a miss is exact with int8 too";
    worst = std::max(worst, furthest(near.miss, near.hit));
  }
  EXPECT_GT(worst, 0) << "no snapshot was in int8";
  EXPECT_LT(worst, 0.1) << "0.015 was measured";
  const HistogramCounts& errors = int8->states().int8_snapshots()->errors();
  EXPECT_GT(errors.total(), 0);
  EXPECT_GT(errors.sum / double(errors.total()), 0.002);
  // Half a scale is a 254th of a row's largest value, which is at most sqrt(128) times its RMS; 0.02 was measured.
  EXPECT_LT(errors.sum / double(errors.total()), std::sqrt(128.0) / 254);
  expect_pools_at_base(*int8);
}

// Two slots' memory holds more conversations than two; under pressure the cache gives up what is worth least, and in the end all is
// free.
TEST(Int8Snapshots, MoreFitAndPressureEvicts) {
  std::mt19937_64 rng(5);
  const auto hits = [&](bool int8, int conversations) {
    const auto engine = make_engine(int8, 6);
    std::vector<std::vector<int32_t>> prompts;
    for (int i = 0; i < conversations; ++i) prompts.push_back(random_prompt(rng, 70));
    int64_t cached = 0;
    for (int turn = 0; turn < 2; ++turn)
      for (const auto& prompt : prompts) {
        Scheduler scheduler(*engine);
        const Answer a = answer(scheduler, {.prompt = prompt, .max_tokens = 1}).value();
        if (turn > 0) cached += a.usage.cached_tokens > 0;
      }
    if (int8) expect_pools_at_base(*engine);
    return cached;
  };
  const auto engine = make_engine(true, 6);
  const int64_t places = engine->states().int8_snapshots()->places();
  EXPECT_EQ(engine->states().slots(), 4);
  EXPECT_GE(places, 8) << "four times two";
  EXPECT_EQ(hits(true, int(places)), places);
  EXPECT_EQ(hits(false, int(places)), 0) << "they do not fit in fp32, and in turn each evicts the next";
}

// Requests that come while others run, with few slots or none for snapshots, drafts, siblings and cancellations.
TEST(Int8Snapshots, NothingIsLeftBehind) {
  const int64_t most_drafts = kTestModel.random_weights ? 0 : 2;
  for (const auto& [slots, speculate] : {std::pair<int64_t, int64_t>{1, 0}, {4, 0}, {5, most_drafts}, {9, most_drafts}}) {
    std::mt19937_64 rng(uint64_t(slots) * 10);
    const auto engine = make_engine(true, slots, speculate);
    {
      constexpr int kRequests = 12;
      Scheduler scheduler(*engine);
      std::vector<std::shared_ptr<Outbox>> outboxes;
      const std::vector<int32_t> stem = random_prompt(rng, 200);
      for (int sent = 0; sent < kRequests || !scheduler.idle();) {
        while (sent < kRequests && rng() % 3 == 0) {
          std::vector<int32_t> prompt(stem.begin(), stem.begin() + 60 + int64_t(rng() % 140));
          for (uint64_t i = rng() % 30; i > 0; --i) prompt.push_back(int32_t(rng() % uint64_t(kVocab)));
          outboxes.push_back(std::make_shared<Outbox>());
          scheduler.submit(RequestId(++sent), {.prompt = prompt, .max_tokens = int64_t(1 + rng() % 20)}, outboxes.back());
        }
        if (sent > 0 && rng() % 20 == 0) scheduler.cancel(1 + rng() % uint64_t(sent));
        ASSERT_TRUE(scheduler.step().ok());
      }
      EXPECT_EQ(scheduler.stats().failed, 0);
      for (const auto& outbox : outboxes)
        while (const auto e = outbox->pop()) EXPECT_TRUE(e->error.ok()) << e->error.to_string();
    }
    const Int8Snapshots& int8 = *engine->states().int8_snapshots();
    EXPECT_EQ(engine->cache().snapshots(), int8.places() - int8.free());
    EXPECT_EQ(engine->cache().counters().hits > 0, slots > 4) << slots;
    expect_pools_at_base(*engine);
  }
}

}  // namespace
}  // namespace sluice
