// A model on each device of this machine: the logits are the CPU's, however a sequence is cut into steps, from a snapshot, verified
// and among others; and many requests with a prefix cache and drafts say what each says alone. What holds bit for bit on the CPU
// (same_bits_test, scheduler_test) holds within rounding on a GPU, so fp32 is compared. Steps that a GPU replays are those that it
// was given first, bit for bit.
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <cmath>
#include <fstream>

#include "core/runtime.h"
#include "engine/scheduler.h"
#include "tests/support/cut_sequences.h"
#include "text/chat.h"
#include "text/tokenizer.h"

namespace sluice {
namespace {

using namespace testing;

const std::string kModel = SLUICE_SOURCE_DIR "/demo/model";
constexpr int64_t kVocab = 2048;

// What few tests want otherwise.
struct Extras {
  bool graphs = true, int8_snapshots = false;
};

std::unique_ptr<Engine> make(Device device, int64_t sequences = 1, int64_t speculate = 0, Extras extras = {}) {
  auto e = Engine::create({.model = kModel,
                           .dtype = DTypeChoice::kF32,
                           .device = device,
                           .threads = 2,
                           .workspace = size_t(1) << 30,
                           .prefill_chunk = 100,
                           .max_context = 1024,
                           .max_sequences = sequences,
                           .state_slots = 2 * sequences + 2,
                           .speculate = speculate,
                           .graphs = extras.graphs,
                           .int8_snapshots = extras.int8_snapshots});
  EXPECT_TRUE(e.ok()) << e.status().to_string();
  (*e)->states().poison_freed(), (*e)->kv().poison_freed();
  return std::move(e).value();
}

void expect_near(const std::vector<float>& got, std::span<const float> want, const std::string& what) {
  constexpr float kTolerance = 2e-3f;  // of logits up to 20; fp32 sums in another order, through all layers
  ASSERT_EQ(got.size(), want.size()) << what;
  float worst = 0;
  size_t at = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const float d = std::abs(got[i] - want[i]);
    if (!(d <= worst)) worst = std::isnan(d) ? INFINITY : d, at = i;
  }
  EXPECT_LE(worst, kTolerance) << what << ", at position " << at / kVocab;
}

// What requests say that are submitted together.
std::vector<std::vector<int32_t>> all_answers(Scheduler& scheduler, const std::vector<Request>& all) {
  std::vector<std::shared_ptr<Outbox>> outboxes;
  for (size_t i = 0; i < all.size(); ++i) scheduler.submit(i + 1, all[i], outboxes.emplace_back(std::make_shared<Outbox>()));
  while (!scheduler.idle())
    if (const Status step = scheduler.step(); !step.ok()) {
      ADD_FAILURE() << step.to_string();
      break;
    }
  std::vector<std::vector<int32_t>> answers(all.size());
  for (size_t i = 0; i < all.size(); ++i)
    while (const auto event = outboxes[i]->pop()) {
      EXPECT_TRUE(event->error.ok()) << event->error.to_string();
      for (const SampledToken& t : event->tokens) answers[i].push_back(t.id);
    }
  return answers;
}

class OnDevice : public ::testing::TestWithParam<std::string> {
 protected:
  Device device() const { return parse_device(GetParam()).value(); }
};

TEST_P(OnDevice, LogitsAreThoseOfTheCpu) {
  const std::vector<int32_t> ids = random_ids(330, 7, kVocab);
  const std::vector<float> want = in_pieces(*make({}), ids, int64_t(ids.size()));
  const auto e = make(device(), 5);
  for (const int64_t piece : {330, 100, 64, 7, 1})
    expect_near(in_pieces(*e, ids, piece), want, "pieces of " + std::to_string(piece));
  expect_near(verified(*e, ids, 4), want, "verified in fours");
  expect_near(verified(*e, ids, 2), want, "verified in fours, half of them rejected");
  std::vector<std::vector<int32_t>> others;
  for (const int64_t length : {1, 63, 130, 300}) others.push_back(random_ids(length, uint64_t(length), kVocab));
  expect_near(among_others(*e, ids, others), want, "in a batch of five");
  expect_near(resumed(*e, ids), std::span(want).subspan(128 * kVocab), "from a snapshot");
  EXPECT_EQ(e->states().free_slots(), e->states().slots());
}

// Logits of steps of many kinds: a prompt, decoding, decoding beside a prompt that closes a chunk, and verification, also beside
// a prompt. `seed`: other tokens in the same shapes.
std::vector<float> steps_of_all_kinds(Engine& e, uint64_t seed) {
  std::vector<std::unique_ptr<Sequence>> s;
  for (int i = 0; i < 5; ++i) s.push_back(e.open(random_ids(300, seed + uint64_t(i), kVocab)).value());
  std::vector<float> out;
  const auto step = [&](std::vector<Work> work, int64_t logits) { return keep_logits(e, e.step(work), logits, out); };
  const auto verify = [&](Sequence& q, std::vector<Work> beside) {
    std::vector<Work> work{{&q, 3, WantLogits::kAll, true}};
    work.insert(work.end(), beside.begin(), beside.end());
    const auto done = e.step(work);
    if (!keep_logits(e, done, 3 + int64_t(beside.size()), out)) return;
    EXPECT_TRUE(e.accept(q, 2, done->hidden.slice(0, 1, 2)).ok());
  };
  step({{s[0].get(), 70}, {s[1].get(), 33}, {s[2].get(), 9}}, 3);
  for (int i = 0; i < 3; ++i) step({{s[0].get(), 1}, {s[1].get(), 1}, {s[2].get(), 1}}, 3);
  step({{s[0].get(), 1}, {s[1].get(), 1}, {s[3].get(), 87}}, 3);
  step({{s[0].get(), 2, WantLogits::kAll}, {s[4].get(), 5, WantLogits::kNone}}, 2);
  verify(*s[0], {});
  verify(*s[0], {{s[1].get(), 1}, {s[4].get(), 61}});
  for (auto& q : s) e.close(*q);
  return out;
}

// Takes all slots and pages and gives them back, so that all are full of NaN, whose bits are all set.
void poison_pools(Engine& e) {
  std::vector<int32_t> slots, pages;
  while (e.states().free_slots() > 0) slots.push_back(e.states().acquire().value());
  for (const int32_t slot : slots) e.states().release(slot);
  EXPECT_TRUE(e.kv().grow(pages, e.kv().free_pages() * KvPool::kPageTokens).ok());
  e.kv().release(pages);
}

bool poisoned(Engine& e, const Tensor& t) {
  std::vector<uint32_t> words(t.bytes() / sizeof(uint32_t));
  EXPECT_TRUE(to_host(e.context(), t.data, t.bytes(), words.data()).ok());
  return std::ranges::all_of(words, [](uint32_t x) { return x == ~0u; });
}

TEST_P(OnDevice, ReplayedStepsAreThoseLaunched) {
  const std::vector<float> want = steps_of_all_kinds(*make({}, 5), 1);
  expect_near(steps_of_all_kinds(*make(device(), 5, 0, {.graphs = false}), 1), want, "launched");
  const auto e = make(device(), 5);
  poison_pools(*e);
  const std::vector<float> launched = steps_of_all_kinds(*e, 1);
  expect_near(launched, want, "launched, with padding");
  const int64_t recorded = e->recorded_steps();  // a shape that came twice already
  steps_of_all_kinds(*e, 11);
  EXPECT_EQ(e->recorded_steps() > recorded, e->context().gpu != nullptr);
  EXPECT_EQ(steps_of_all_kinds(*e, 1), launched) << "replayed";
  // Who wrote for the padding wrote into a slot or a page that nobody had taken.
  for (int64_t slot = 0; slot < e->states().slots(); ++slot)
    for (const LinearLayerState& layer : e->states().layers())
      for (const Tensor& t : {layer.gdn.s, layer.gdn.k, layer.gdn.u, layer.gdn.g, layer.conv_ring, layer.conv_tail})
        EXPECT_TRUE(poisoned(*e, t[slot])) << "slot " << slot;
  for (const AttentionLayerCache& layer : e->kv().layers())
    for (const Tensor& t : {layer.k, layer.v}) EXPECT_TRUE(poisoned(*e, t));
}

TEST_P(OnDevice, RequestsSayWhatEachSaysAlone) {
  const auto tokenizer = Tokenizer::load(kModel).value();
  std::vector<Request> all;
  for (int i = 0; i < 24; ++i) {
    const std::string text = "Tom has " + std::to_string(10 + i / 4) + " apples and buys " + std::to_string(3 * (i / 4)) +
                             " more. How many apples does he have?";
    Request r{.prompt = tokenizer.encode(std::string_view(text), false), .max_tokens = 40};
    const std::vector<int32_t> once = r.prompt;
    for (int more = 3 + i % 5; more > 0; --more) r.prompt.insert(r.prompt.begin(), once.begin(), once.end());
    if (i % 3 == 0) r.sampling.params = {.temperature = 0.7f, .top_k = 20, .top_p = 0.9f, .seed = uint64_t(i)};
    all.push_back(std::move(r));
  }
  std::vector<std::vector<int32_t>> want;
  {
    const auto cold = make({});
    for (Request r : all) {
      r.use_cache = false;
      Scheduler scheduler(*cold);
      want.push_back(ids_of(answer(scheduler, std::move(r)).value().tokens));
    }
  }
  for (const int64_t speculate : {0, 2}) {
    const auto e = make(device(), 6, speculate);
    Scheduler scheduler(*e);
    const std::vector<std::vector<int32_t>> got = all_answers(scheduler, all);
    for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(got[i], want[i]) << "request " << i << ", up to " << speculate << " drafts";
    EXPECT_GT(e->cache().counters().hit_tokens, 0);
    if (speculate > 0) {
      EXPECT_GT(scheduler.stats().accepted, scheduler.stats().drafted / 4);
    }
  }
}

std::vector<Request> demo_tasks(const Tokenizer& tokenizer, const std::vector<int32_t>& stops) {
  const ChatTemplate chat = ChatTemplate::load(kModel).value();
  std::ifstream file(SLUICE_SOURCE_DIR "/demo/tasks.jsonl");
  std::vector<Request> tasks;
  for (std::string line; std::getline(file, line);) {
    const boost::json::value row = boost::json::parse(line);
    const boost::json::array messages{{{"role", "user"}, {"content", row.at("user")}}};
    const ChatOutput out = chat.render(messages, nullptr, true, {}).value();
    std::vector<Tokenizer::Span> spans;
    for (const auto& run : out.runs)
      spans.push_back({std::string_view(out.text).substr(run.begin, run.end - run.begin), run.trusted});
    tasks.push_back({.prompt = tokenizer.encode(spans), .sampling = {.stop_ids = stops}, .max_tokens = 96});
  }
  return tasks;
}

// In bf16 and without --batch-invariant a GPU's rounding depends on the batch, the cut and the cache. What is said hardly does.
// Each task is set twice in a row: the second time, the first one's beginning is in the cache, if it is long enough.
TEST(OnGpu, DemoTasksAreAnsweredAsAlone) {
  if (detect_gpus().gpus.empty()) GTEST_SKIP() << "no GPU here";
  const auto engine = [](int64_t sequences, int64_t speculate) {
    return Engine::create({.model = kModel,
                           .device = {DeviceKind::kCuda, 0},
                           .workspace = size_t(1) << 30,
                           .prefill_chunk = 100,
                           .max_context = 4096,
                           .max_sequences = sequences,
                           .state_slots = 4 * sequences,
                           .speculate = speculate})
        .value();
  };
  const auto cold = engine(1, 0);
  const auto& stops = cold->model().config().eos_token_ids;
  const std::vector<Request> tasks = demo_tasks(Tokenizer::load(kModel).value(), {stops.begin(), stops.end()});
  ASSERT_GE(tasks.size(), 300u);
  std::vector<std::vector<int32_t>> want;
  for (Request r : tasks) {
    r.use_cache = false;
    Scheduler scheduler(*cold);
    const auto alone = answer(scheduler, std::move(r));
    ASSERT_TRUE(alone.ok()) << alone.status().to_string();
    want.push_back(ids_of(alone->tokens));
  }
  std::vector<Request> twice;
  for (const Request& task : tasks) twice.insert(twice.end(), 2, task);
  for (const int64_t speculate : {0, 2}) {
    const auto e = engine(24, speculate);
    Scheduler scheduler(*e);
    const std::vector<std::vector<int32_t>> got = all_answers(scheduler, twice);
    size_t same = 0;
    for (size_t i = 0; i < twice.size(); ++i) same += got[i] == want[i / 2];
    EXPECT_GE(double(same), 0.995 * double(twice.size())) << "up to " << speculate << " drafts";
    RecordProperty("same_of_" + std::to_string(twice.size()) + "_with_" + std::to_string(speculate) + "_drafts", int(same));
    EXPECT_GT(e->cache().counters().hits, 100);
  }
}

// Not the same, as tests/engine/int8_snapshots_test.cc has it, which is also where the limits come from.
TEST_P(OnDevice, AHitOfASnapshotInInt8IsNear) {
  const auto e = make(device(), 2, 0, {.int8_snapshots = true});
  double worst = 0;
  for (const int64_t length : {65, 200, 330}) {
    const Request r{.prompt = random_ids(length, uint64_t(length), kVocab), .max_tokens = 1};
    Scheduler scheduler(*e);
    const Answer miss = answer(scheduler, r).value(), hit = answer(scheduler, r).value();
    EXPECT_EQ(hit.usage.cached_tokens, length / 64 * 64);
    worst = std::max(worst, std::abs(double(miss.tokens[0].logprob) - hit.tokens[0].logprob));
  }
  EXPECT_GT(worst, 0);
  EXPECT_LT(worst, 0.1);
  const HistogramCounts& errors = e->states().int8_snapshots()->errors();
  EXPECT_GE(errors.total(), 3);
  EXPECT_LT(errors.sum / double(errors.total()), std::sqrt(128.0) / 254);
  e->cache().clear();
  EXPECT_EQ(e->states().free_slots(), e->states().slots());
  EXPECT_EQ(e->states().free_snapshots(), e->states().int8_snapshots()->places());
}

std::vector<std::string> devices() {
  std::vector<std::string> names{"cpu"};
  if (!detect_gpus().gpus.empty()) names.push_back("cuda:0");
  return names;
}

std::string test_name(const ::testing::TestParamInfo<std::string>& info) { return info.param == "cpu" ? "cpu" : "gpu"; }

INSTANTIATE_TEST_SUITE_P(Devices, OnDevice, ::testing::ValuesIn(devices()), test_name);

}  // namespace
}  // namespace sluice
