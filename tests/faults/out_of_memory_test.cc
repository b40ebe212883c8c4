// Fault 23: the 1st, the 2nd, ... allocation fails, while a model is loaded, while requests are admitted and computed, and while
// one is answered over HTTP. Whoever is hit gets an error; nothing leaks, the pools are whole, and who comes next gets the same
// tokens.
#include <gtest/gtest.h>

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/bind_allocator.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <cstdlib>
#include <functional>
#include <thread>

#include "engine/scheduler.h"
#include "server/connection.h"
#include "server/openai_routes.h"
#include "server/test_server.h"
#include "tests/support/failing_allocator.h"
#include "tests/support/small_pools.h"
#include "tests/support/watchdog.h"
#include "text/chat.h"
#include "text/tokenizer.h"

namespace sluice {
namespace {

namespace failing = testing::failing_allocator;
using testing::eventually;
using testing::RawClient;
using testing::RawResponse;

const std::string kModel = SLUICE_SOURCE_DIR "/demo/model";

// SLUICE_EVERY_FAILURE: each allocation, which takes minutes. Otherwise the first ones, and the further on the fewer.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int64_t kDense = 10, kSpread = 3;
#else
constexpr int64_t kDense = 20, kSpread = 6;
#endif

// Calls f(n), in which the nth allocation fails, until no more are asked for.
void with_every_failure(const std::function<bool(int64_t n)>& f) {
  const bool every = std::getenv("SLUICE_EVERY_FAILURE") != nullptr;
  int64_t tried = 0;
  for (int64_t n = 1; f(n); n += every || n < kDense ? 1 : 1 + n / kSpread) {
    ++tried;
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_GE(tried, 10) << "too few failed";
}

// ---- loading ----

template <class Load>
void expect_clean_failures(Load load) {
  ASSERT_TRUE(load().ok());  // what is made once and kept is there now
  const int64_t before = failing::live();
  with_every_failure([&](int64_t n) {
    bool failed = false;
    {
      failing::arm(n);
      const auto loaded = load();
      failed = failing::disarm();
      EXPECT_TRUE(failed || loaded.ok());
      if (!loaded.ok()) {
        EXPECT_EQ(loaded.status().to_string(), out_of_memory().to_string()) << "allocation " << n;
      }
    }
    EXPECT_EQ(failing::live(), before) << "allocation " << n;
    return failed;
  });
}

TEST(OutOfMemory, LoadingAModel) {
  const EngineOptions options{.model = kModel, .threads = 2, .max_context = 256, .speculate = 1};
  expect_clean_failures([&] { return Engine::create(options); });
}
TEST(OutOfMemory, LoadingATokenizer) {
  expect_clean_failures([] { return Tokenizer::load(kModel); });
}
TEST(OutOfMemory, LoadingAChatTemplate) {
  expect_clean_failures([] { return ChatTemplate::load(kModel); });
}

// ---- admission and steps ----

struct Outcome {
  std::vector<int32_t> ids;
  std::string text;
  FinishReason finish = FinishReason::kNone;
  Status error;
  bool operator==(const Outcome& o) const { return ids == o.ids && text == o.text && finish == o.finish; }
};

class Requests {
 public:
  Requests() : tokenizer_(Tokenizer::load(kModel).value()) {
    auto e = Engine::create({.model = kModel,
                             .threads = 2,
                             .prefill_chunk = 64,
                             .max_context = 250,
                             .max_sequences = 3,
                             .state_slots = 4,
                             .kv_tokens = 256,
                             .speculate = 2});
    EXPECT_TRUE(e.ok()) << e.status().to_string();
    engine_ = std::move(e).value();
    engine_->states().poison_freed(), engine_->kv().poison_freed();
    const std::vector<int32_t> text = tokenizer_.encode(
        std::string_view("Tom has 12 apples and buys 30 more. How many apples does he have? 12 + 30 = 42. The answer is 42.\n"),
        false);
    for (const auto& [prompt, tokens] : {std::pair{70, 12}, {60, 12}, {75, 8}, {3, 2}}) {
      Request r{.max_tokens = tokens, .tokenizer = &tokenizer_};
      for (int i = 0; i < prompt; ++i) r.prompt.push_back(text[size_t(i) % text.size()]);
      r.stop_strings = {"never to be said", "and neither is this"};
      r.cache_salt = "a salt that is longer than a small string";
      requests_.push_back(std::move(r));
    }
    requests_[1].top_logprobs = 2;
    requests_[3].prompt_logprobs = 1;
    requests_[2].sampling.params = {.temperature = 0.8f, .top_k = 20, .seed = 5};
    requests_[2].sampling.params.repetition_penalty = 1.1f;
    requests_[2].sampling.bad_words = {{5, 6}};
  }

  // All of them at once, in steps on this thread.
  std::vector<Outcome> serve(Scheduler::Stats* stats = nullptr) {
    std::vector<std::shared_ptr<Outbox>> outboxes;
    std::optional<Scheduler> own;
    {
      const failing::Exempt here;
      own.emplace(*engine_);
    }
    Scheduler& scheduler = *own;
    for (size_t i = 0; i < requests_.size(); ++i) {
      Request copy;
      {
        const failing::Exempt here;  // who asks has its memory
        outboxes.push_back(std::make_shared<Outbox>());
        copy = requests_[i];
      }
      scheduler.submit(i + 1, std::move(copy), outboxes.back());
    }
    while (!scheduler.idle()) (void)scheduler.step();
    if (stats) *stats = scheduler.stats();
    std::vector<Outcome> out;
    const failing::Exempt here;
    for (const auto& outbox : outboxes) {
      Outcome& o = out.emplace_back();
      while (const auto e = outbox->pop()) {
        EXPECT_EQ(o.finish, FinishReason::kNone) << "an event behind the last";
        for (const SampledToken& t : e->tokens) o.ids.push_back(t.id);
        o.text += e->text, o.finish = e->finish, o.error = e->error;
      }
    }
    return out;
  }

  // What is kept between requests is given up: true if nothing else is left.
  bool pools_are_whole() {
    engine_->cache().clear();
    return engine_->states().free_slots() == engine_->states().slots() && engine_->kv().free_pages() == engine_->kv().pages();
  }
  Engine& engine() { return *engine_; }

 private:
  Tokenizer tokenizer_;
  std::unique_ptr<Engine> engine_;
  std::vector<Request> requests_;
};

// failures: so many allocations in a row.
void expect_errors_or_the_same_tokens(int64_t failures) {
  Requests requests;
  Scheduler::Stats stats;
  const std::vector<Outcome> want = requests.serve(&stats);
  for (const Outcome& o : want)
    ASSERT_TRUE(o.finish == FinishReason::kLength || o.finish == FinishReason::kStop) << o.error.to_string();
  ASSERT_GT(stats.preemptions, 0) << "requests must get into each other's way";
  ASSERT_GT(stats.drafted, 0);
  ASSERT_EQ(requests.serve(), want);  // with hits of the prefix cache
  ASSERT_GT(requests.engine().cache().counters().hits, 0);
  ASSERT_TRUE(requests.pools_are_whole());
  int64_t unharmed = 0, harmed = 0;
  const int64_t before = failing::live();
  const auto serve_without = [&](int64_t n) {
    failing::arm(n, failures);
    const std::vector<Outcome> got = requests.serve();
    const bool failed = failing::disarm();
    for (size_t i = 0; i < got.size(); ++i) {
      const std::string what = "allocation " + std::to_string(n) + ", request " + std::to_string(i);
      if (got[i].finish == FinishReason::kError) {
        EXPECT_EQ(got[i].error.to_string(), out_of_memory().to_string()) << what;
        EXPECT_TRUE(want[i].text.starts_with(got[i].text)) << what;
        ++harmed;
      } else {
        EXPECT_EQ(got[i], want[i]) << what;
        ++unharmed;
      }
    }
    EXPECT_EQ(requests.serve(), want) << "after allocation " << n;
    EXPECT_TRUE(requests.pools_are_whole()) << "after allocation " << n;
    return failed;
  };
  with_every_failure([&](int64_t n) {
    const bool failed = serve_without(n);
    EXPECT_EQ(failing::live(), before) << "after allocation " << n;
    return failed;
  });
  EXPECT_GT(harmed, 0);
  EXPECT_GT(unharmed, 0);
}

TEST(OutOfMemory, AdmissionAndSteps) { expect_errors_or_the_same_tokens(1); }
TEST(OutOfMemory, AdmissionAndStepsWhileNothingIsLeft) { expect_errors_or_the_same_tokens(100); }

// What cannot be remembered is not, and what was begun is taken back.
TEST(OutOfMemory, ThePrefixCache) {
  auto states = StatePool::create(testing::kSmallPools, 4).value();
  auto kv = KvPool::create(testing::kSmallPools, 16).value();
  PrefixCache cache(states, kv);
  std::vector<int32_t> tokens(8 * KvPool::kPageTokens), pages;
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = int32_t(i);
  // failure: which allocation fails; 0: none. Whether it came to that.
  const auto remember = [&](size_t length, int64_t failure) {
    EXPECT_TRUE(kv.grow(pages, int64_t(length)).ok());
    const int32_t snapshot = states.freeze(states.acquire().value()).value();
    if (failure > 0) failing::arm(failure);
    cache.insert("a salt that is longer than a small string", std::span(tokens).first(length), pages, snapshot);
    const bool failed = failing::disarm();
    kv.release(pages);
    return failed;
  };
  for (const bool begun : {false, true})  // whether a part of the path is there
    with_every_failure([&](int64_t n) {
      if (begun) remember(128, 0);
      const bool failed = remember(tokens.size(), n);
      EXPECT_EQ(states.free_slots(), 4 - (begun + !failed)) << "allocation " << n;
      EXPECT_EQ(kv.free_pages(), !failed ? 8 : begun ? 14 : 16) << "allocation " << n;
      cache.clear();
      EXPECT_EQ(states.free_slots(), 4);
      EXPECT_EQ(kv.free_pages(), 16);
      return failed;
    });
}

// ---- over HTTP ----

// What a connection's coroutine and the one that accepts wait for begins without memory: else asio could end the program.
TEST(OutOfMemory, WaitingTakesNone) {
  asio::io_context context;
  OperationMemory memory;
  Timer timer(context.get_executor());
  const std::array<void*, 4> handlers_are_this_large{};
  const auto poll = [&] { context.restart(), context.poll(); };
  const auto begins = [&](auto wait) {
    failing::arm(1, 100);
    EXPECT_NO_THROW(
        wait(asio::bind_allocator(memory.allocator(), [handlers_are_this_large](auto...) { (void)handlers_are_this_large; })));
    EXPECT_FALSE(failing::disarm());
    poll();
  };
  timer.async_wait([](auto) {});  // makes room in the context's list
  poll();
  timer.expires_after(std::chrono::hours(1));
  begins([&](auto handler) { timer.async_wait(std::move(handler)); });
  timer.cancel();
  poll();
  asio::basic_socket_acceptor<asio::ip::tcp, IoExecutor> acceptor(context, {asio::ip::address_v4::loopback(), 0});
  Socket socket(context.get_executor());
  begins([&](auto handler) { acceptor.async_accept(socket, std::move(handler)); });
  acceptor.close();
  poll();
}

class Served {
 public:
  Served() {
    auto engine = Engine::create({.model = kModel, .threads = 2, .max_context = 256, .max_sequences = 2});
    ServiceTexts texts{Tokenizer::load(kModel).value(), ChatTemplate::load(kModel).value(), {}, {2045}};
    service_ = std::make_unique<Service>(std::move(engine).value(), std::move(texts), ServiceOptions{.names = {"demo"}});
    Router router;
    for (auto* add : {add_chat_route, add_completions_route}) add(router, *service_);
    server_ =
        HttpServer::start({.host = "127.0.0.1", .port = 0, .access_log = [](const AccessRecord&) {}}, std::move(router)).value();
  }
  ~Served() { server_->stop(); }

  RawResponse ask(const std::string& path, const std::string& body) {
    RawClient client(server_->port());
    return client.ask("POST " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: " +
                          std::to_string(body.size()) + "\r\n\r\n" + body,
                      20000);
  }
  // Nothing runs, and no connection is open.
  bool at_rest() {
    return eventually(
        [&] {
          const EngineLoop::Report r = service_->loop().report();
          const HttpCounters& c = server_->counters();
          return r.scheduler.running + r.scheduler.waiting == 0 && c.connections_open == 0 && c.requests_running == 0 &&
                 r.state_slots == r.state_free + r.snapshots && r.kv_pages == r.kv_free + r.kv_cached;
        },
        20000);
  }

 private:
  std::unique_ptr<Service> service_;
  std::unique_ptr<HttpServer> server_;
};

// The answer's text; of a stream, that of all its events. Empty where there is an error, which is told by `whole`.
std::string text_of(const RawResponse& r, bool& whole) {
  std::string text;
  whole = false;
  const auto add = [&](std::string_view json) {
    const boost::json::object o = boost::json::parse(json).as_object();
    if (!o.contains("choices")) return;
    for (const auto& c : o.at("choices").as_array()) {
      const boost::json::object& choice = c.as_object();
      const boost::json::value& message = choice.contains("message") ? choice.at("message") : choice.at("delta");
      if (const auto* content = message.as_object().if_contains("content"); content && content->is_string())
        text += std::string_view(content->as_string());
    }
  };
  if (r.header("Content-Type") != "text/event-stream") {
    whole = r.complete && r.status == 200;
    if (whole) add(r.body);
    return text;
  }
  for (size_t at = 0; (at = r.body.find("data: ", at)) != std::string::npos;) {
    const size_t end = r.body.find("\n\n", at);
    if (end == std::string::npos) break;
    const std::string data = r.body.substr(at + 6, end - at - 6);
    at = end;
    if (data == "[DONE]") whole = r.complete;
    else add(data);
  }
  return text;
}

void expect_answers_or_errors(const std::string& body) {
  const failing::Exempt here;
  const testing::Watchdog watchdog(500, "a request without memory hangs");
  Served served;
  const std::string path = "/v1/chat/completions";
  bool whole = false;
  const std::string want = text_of(served.ask(path, body), whole);
  ASSERT_TRUE(whole);
  ASSERT_GT(want.size(), 4u);
  ASSERT_TRUE(served.at_rest());
  int64_t errors = 0;
  with_every_failure([&](int64_t n) {
    const std::string what = "allocation " + std::to_string(n);
    failing::arm(n);
    const RawResponse r = served.ask(path, body);
    EXPECT_TRUE(served.at_rest()) << what << ": something still runs";
    const bool failed = failing::disarm();
    const std::string got = text_of(r, whole);
    EXPECT_TRUE(want.starts_with(got)) << what << ": " << got;
    if (whole) {
      EXPECT_EQ(got, want) << what;
    } else {
      ++errors;
      EXPECT_TRUE(r.status == 0 || r.status == 200 || r.status == 500 || r.status == 503) << what << ": " << r.head << r.body;
    }
    EXPECT_EQ(text_of(served.ask(path, body), whole), want) << "after " << what;
    EXPECT_TRUE(whole);
    EXPECT_TRUE(served.at_rest()) << what;
    return failed;
  });
  EXPECT_GT(errors, 0);
}

constexpr char kQuestion[] = R"("messages":[{"role":"user","content":"Add 494 and 92."}],"max_tokens":6,"seed":3)";

TEST(OutOfMemory, Answers) { expect_answers_or_errors(std::string("{") + kQuestion + R"(,"logprobs":true,"top_logprobs":2})"); }
TEST(OutOfMemory, Streams) { expect_answers_or_errors(std::string("{") + kQuestion + R"(,"stream":true,"stop":["never"]})"); }

}  // namespace
}  // namespace sluice
