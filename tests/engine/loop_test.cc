#include "engine/loop.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "text/tokenizer.h"

namespace sluice {
namespace {

const std::string kModel = SLUICE_SOURCE_DIR "/demo/model";

std::unique_ptr<Engine> engine() {
  return Engine::create({.model = kModel, .threads = 2, .max_context = 2048, .max_sequences = 4, .state_slots = 8}).value();
}

Request counting(const Tokenizer& tokenizer, int64_t tokens) {
  return {.prompt = tokenizer.encode(std::string_view("1 2 3 4 5 6 7 8"), false), .max_tokens = tokens, .tokenizer = &tokenizer};
}

TEST(AnswerText, StopsWhereAStringBeginsHoweverTheTextComes) {
  const auto tokenizer = Tokenizer::load(kModel).value();
  const auto text = [&](const std::string& s, std::vector<std::string> stops, bool whole_at_once) {
    AnswerText answer(tokenizer, std::move(stops));
    std::string out;
    if (whole_at_once) {
      for (const int32_t id : tokenizer.encode(std::string_view(s), false)) out += answer.push(id);
    } else {
      for (const char c : s)
        for (const int32_t id : tokenizer.encode(std::string_view(&c, 1), false)) out += answer.push(id);
    }
    return out + answer.finish() + (answer.stopped() ? "|" : "");
  };
  for (const bool whole : {true, false}) {
    EXPECT_EQ(text("one two three", {}, whole), "one two three");
    EXPECT_EQ(text("one two three", {"two"}, whole), "one |");
    EXPECT_EQ(text("one two three", {"twx", "ee", "three"}, whole), "one two |") << "complete together: the longer";
    EXPECT_EQ(text("abcX", {"abcX", "bc"}, whole), "a|") << "the one that is complete first";
    EXPECT_EQ(text("one tw", {"two"}, whole), "one tw") << "a beginning that comes to nothing is text";
    EXPECT_EQ(text("aaab", {"aab"}, whole), "a|");
  }
}

TEST(EngineLoop, ManyThreadsSendAndCancel) {
  const auto tokenizer = Tokenizer::load(kModel).value();
  EngineLoop loop(engine(), {});
  std::atomic<int> whole = 0, cancelled = 0;
  std::vector<std::thread> clients;
  for (int c = 0; c < 8; ++c)
    clients.emplace_back([&, c] {
      for (int i = 0; i < 10; ++i) {
        const auto outbox = std::make_shared<Outbox>();
        const auto id = loop.submit(counting(tokenizer, 12), outbox);
        ASSERT_TRUE(id.ok()) << id.status().to_string();
        if ((c + i) % 3 == 0) loop.cancel(*id);
        int64_t tokens = 0;
        for (;;) {
          const Event e = outbox->wait();
          tokens += int64_t(e.tokens.size());
          if (e.finish == FinishReason::kNone) continue;
          ASSERT_NE(e.finish, FinishReason::kError) << e.error.to_string();
          EXPECT_EQ(tokens, e.usage.completion_tokens);
          ++(e.finish == FinishReason::kCancelled ? cancelled : whole);
          break;
        }
      }
    });
  for (auto& t : clients) t.join();
  EXPECT_EQ(whole + cancelled, 80);
  EXPECT_GT(whole, 40);
  const auto outbox = std::make_shared<Outbox>();
  ASSERT_TRUE(loop.submit(counting(tokenizer, 1), outbox).ok());
  while (outbox->wait().finish == FinishReason::kNone) {
  }
}

TEST(EngineLoop, RefusesWhatItCannotServeAndWhatIsTooMuch) {
  const auto tokenizer = Tokenizer::load(kModel).value();
  EngineLoop loop(engine(), {.waiting_requests = 2});
  const auto outbox = std::make_shared<Outbox>();
  EXPECT_EQ(loop.submit({.prompt = {}}, outbox).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(loop.submit({.prompt = {99999}}, outbox).status().message(),
            "token id 99999 at position 0 is outside the vocabulary of 2048");
  EXPECT_EQ(loop.submit({.prompt = std::vector<int32_t>(2048, 1)}, outbox).status().code(), Code::kInvalidArgument);
  std::vector<RequestId> ids;
  Status refused;
  for (int i = 0; i < 20 && refused.ok(); ++i) {
    auto id = loop.submit(counting(tokenizer, 1500), outbox);
    if (id.ok()) ids.push_back(*id);
    else refused = id.status();
  }
  EXPECT_EQ(refused.code(), Code::kResourceExhausted);
  EXPECT_EQ(loop.report().refused, 1) << "what can never be served is another matter";
  EXPECT_EQ(ids.size(), 6u) << "four run and two wait, whether the engine has seen them or not";
  EXPECT_EQ(loop.room().code(), Code::kResourceExhausted);
  EXPECT_EQ(loop.report().refused, 2);
}

// Requests that nobody has handed over yet take the places that are free, then those in the queue.
TEST(EngineLoop, CountsWhatIsOnItsWay) {
  EngineLoop loop(engine(), {.waiting_requests = 2});
  EXPECT_TRUE(loop.room().ok());
  EXPECT_TRUE(loop.room(5).ok());
  EXPECT_EQ(loop.room(6).code(), Code::kResourceExhausted);
  EXPECT_EQ(loop.report().refused, 1);
}

// What the report says of steps and times, of two answers to a slot.
TEST(EngineLoop, ReportsStepsAndTimes) {
  const auto tokenizer = Tokenizer::load(kModel).value();
  EngineLoop loop(Engine::create({.model = kModel, .threads = 2, .max_context = 512}).value(), {});
  const Request request = counting(tokenizer, 10);
  const auto first = std::make_shared<Outbox>(), second = std::make_shared<Outbox>();
  ASSERT_TRUE(loop.submit(request, first).ok());
  ASSERT_TRUE(loop.submit(request, second).ok());
  const auto usage_of = [](Outbox& outbox) {
    for (;;)
      if (const Event e = outbox.wait(); e.finish != FinishReason::kNone) return e.usage;
  };
  const Usage a = usage_of(*first), b = usage_of(*second);
  EXPECT_LE(a.submitted, b.submitted);
  EXPECT_LE(b.submitted, a.admitted + 1);
  EXPECT_LE(a.submitted, a.admitted);
  EXPECT_LT(a.admitted, b.admitted) << "there is one slot: the second waits until the first has ended";
  while (loop.report().scheduler.finished < 2) std::this_thread::yield();
  const EngineLoop::Report r = loop.report();
  EXPECT_EQ(r.scheduler.prompt_tokens + r.scheduler.cached_tokens, 2 * int64_t(request.prompt.size()));
  EXPECT_EQ(r.scheduler.generated_tokens, 20);
  EXPECT_EQ(r.step_tokens.total(), 20) << "the prompt's step draws too";
  EXPECT_EQ(r.step_tokens.counts[0], 18);
  EXPECT_EQ(r.step_tokens.sum, double(r.scheduler.prompt_tokens + r.scheduler.generated_tokens));
  EXPECT_EQ(r.step_seconds.total(), 20);
  EXPECT_GT(r.step_seconds.sum, 0);
  EXPECT_LE(r.step_seconds.sum, r.busy_s);
  double parts = 0;
  for (const double seconds : r.scheduler.seconds) parts += seconds;
  EXPECT_LE(parts, r.busy_s);
  EXPECT_GT(parts, 0.5 * r.busy_s) << "the parts are the step";
}

// A device that is gone ends what runs and what waits, and nothing is computed any more.
TEST(EngineLoop, ALostDeviceEndsAllRequests) {
  const auto tokenizer = Tokenizer::load(kModel).value();
  EngineLoop loop(
      Engine::create({.model = kModel, .threads = 2, .max_context = 2048, .max_sequences = 2, .lose_device_after = 20}).value(),
      {});
  std::vector<std::shared_ptr<Outbox>> outboxes;
  std::array<Code, 5> when_told{};  // the loop's health as each answer's last event comes
  for (Code& health : when_told) {
    outboxes.push_back(std::make_shared<Outbox>([&] { health = loop.health().code(); }));
    ASSERT_TRUE(loop.submit(counting(tokenizer, 1000), outboxes.back()).ok());
  }
  int64_t tokens = 0;
  for (const auto& outbox : outboxes)
    for (bool ended = false; !ended;) {
      const Event e = outbox->wait();
      tokens += int64_t(e.tokens.size());
      ended = e.finish != FinishReason::kNone;
      EXPECT_EQ(e.error.code(), ended ? Code::kDevice : Code::kOk);
    }
  EXPECT_GE(tokens, 20);
  EXPECT_LE(tokens, 40) << "two ran, three waited";
  while (loop.report().failed_steps == 0) std::this_thread::yield();
  EXPECT_EQ(std::ranges::count(when_told, Code::kDevice), 5);
  EXPECT_EQ(loop.submit(counting(tokenizer, 1), outboxes[0]).status().code(), Code::kDevice);
  const EngineLoop::Report r = loop.report();
  EXPECT_EQ(r.scheduler.steps, 20);
  EXPECT_EQ(r.scheduler.failed, 5);
  EXPECT_EQ(r.failed_steps, 1);
  EXPECT_EQ(r.kv_free, r.kv_pages) << "the pools are whole";
}

// The loop's end is the end of what runs: each answer gets its last event.
TEST(EngineLoop, EndsWhatRuns) {
  const auto tokenizer = Tokenizer::load(kModel).value();
  std::vector<std::shared_ptr<Outbox>> outboxes;
  {
    EngineLoop loop(engine(), {});
    for (int i = 0; i < 6; ++i) {
      outboxes.push_back(std::make_shared<Outbox>());
      ASSERT_TRUE(loop.submit(counting(tokenizer, 2000), outboxes.back()).ok());
    }
    (void)outboxes[0]->wait();
  }
  for (const auto& outbox : outboxes) {
    FinishReason last = FinishReason::kNone;
    while (const auto e = outbox->pop()) last = e->finish;
    EXPECT_EQ(last, FinishReason::kCancelled);
  }
}

}  // namespace
}  // namespace sluice
