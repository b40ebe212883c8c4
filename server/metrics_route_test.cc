// GET /metrics of a server with an engine behind it: keys, drain, and counts under load.
#include <gtest/gtest.h>

#include "base/clock.h"
#include "server/metrics.h"
#include "server/test_server.h"
#include "tests/support/metrics_text.h"
#include "text/tokenizer.h"

namespace sluice {
namespace {

using testing::eventually;
using testing::MetricsText;
using testing::RawClient;
using testing::RawResponse;
using testing::read_metrics;
using testing::TestServer;

const std::string kModel = SLUICE_SOURCE_DIR "/demo/model";
const std::string kLabels = "{model_name=\"demo\",engine=\"0\"}";

// A server whose metrics are those of an engine, if one is given.
struct Served {
  explicit Served(EngineLoop* loop = nullptr, std::vector<std::string> keys = {})
      : server([&](HttpOptions& o) { o.api_keys = std::move(keys); },
               [&, loop](Router& router) {
                 add_metrics_route(router, metrics, [this, loop] {
                   MetricsReading now;
                   if (loop) now.engine = loop->report();
                   now.http = &server.counters();
                   now.draining = server->draining();
                   return now;
                 });
               }) {}
  MetricsText scrape() {
    RawClient client(server.port());
    return read_metrics(client.get("/metrics").body);
  }
  Metrics metrics{{.model = "demo", .max_context = 2048}};
  TestServer server;
};

TEST(MetricsRoute, HasItsContentTypeAndNeedsTheKey) {
  Served served(nullptr, {"secret"});
  RawClient client(served.server.port());
  EXPECT_EQ(client.get("/metrics").status, 401);
  const RawResponse r = client.get("/metrics", "Authorization: Bearer secret\r\n");
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(r.header("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_EQ(r.header("Cache-Control"), "no-store");
  const MetricsText m = read_metrics(r.body);
  EXPECT_EQ(m.value("sluice_http_rejected_total{reason=\"key\"}"), 1);
  EXPECT_EQ(m.value("sluice_http_responses_total{code=\"4xx\"}"), 1);
  EXPECT_EQ(m.types.count("vllm:num_requests_running"), 1u);
  const MetricsText own = read_metrics(client.get("/metrics?aliases=no", "Authorization: Bearer secret\r\n").body);
  EXPECT_EQ(own.types.count("vllm:num_requests_running"), 0u);
  EXPECT_EQ(own.types.count("sluice_num_requests_running"), 1u);
  EXPECT_EQ(client.ask("HEAD /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\r\n").status, 200);
}

TEST(MetricsRoute, WorksWhileDraining) {
  Served served;
  RawClient waiting(served.server.port());
  waiting.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
  const Responder responder = served.server.waiting();
  EXPECT_EQ(served.scrape().value("sluice_draining"), 0);
  std::thread drain([&] { served.server->drain(std::chrono::seconds(10)); });
  ASSERT_TRUE(eventually([&] { return served.server->draining(); }));
  EXPECT_EQ(served.scrape().value("sluice_draining"), 1);
  responder.respond(200, {}, "");
  drain.join();
}

// Several threads scrape while others send: no count ever falls, and in the end all is there.
TEST(MetricsRoute, CountsWhatTheEngineDoes) {
  const auto tokenizer = Tokenizer::load(kModel).value();
  EngineLoop loop(
      Engine::create({.model = kModel, .threads = 2, .max_context = 2048, .max_sequences = 4, .state_slots = 8}).value(), {});
  Served served(&loop);
  std::atomic<bool> done = false;
  std::atomic<int> scrapes = 0;
  std::vector<std::thread> scrapers, clients;
  for (int s = 0; s < 2; ++s)
    scrapers.emplace_back([&] {
      MetricsText before;
      while (!done) {
        MetricsText now = served.scrape();
        for (const auto& [series, value] : before.samples) {
          const std::string name = series.substr(0, series.find('{'));
          const bool counts = name.ends_with("_total") || name.ends_with("_bucket") || name.ends_with("_count");
          if (counts) {
            ASSERT_GE(now.value(series), value) << series;
          }
        }
        before = std::move(now);
        ++scrapes;
      }
    });
  constexpr int kClients = 6, kEach = 5, kTokens = 20;
  for (int c = 0; c < kClients; ++c)
    clients.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) {
        const auto outbox = std::make_shared<Outbox>();
        AnswerWatch watch(served.metrics, now_seconds(), kTokens, 1);
        Request request{.prompt = tokenizer.encode(std::string_view("1 2 3 4 5 6 7 8"), false), .max_tokens = kTokens};
        ASSERT_TRUE(loop.submit(std::move(request), outbox).ok());
        for (FinishReason finish = FinishReason::kNone; finish == FinishReason::kNone;) {
          const Event e = outbox->wait();
          watch.event(e);
          finish = e.finish;
        }
      }
    });
  for (auto& t : clients) t.join();
  EXPECT_TRUE(eventually([&] { return loop.report().scheduler.running == 0 && scrapes > 1; }));
  done = true;
  for (auto& t : scrapers) t.join();
  const MetricsText m = served.scrape();
  constexpr double kAnswers = kClients * kEach;
  EXPECT_EQ(m.value("vllm:generation_tokens_total" + kLabels), kAnswers * kTokens);
  EXPECT_EQ(m.value("vllm:request_success_total{model_name=\"demo\",engine=\"0\",finished_reason=\"length\"}"), kAnswers);
  EXPECT_EQ(m.value("vllm:request_generation_tokens_sum" + kLabels), kAnswers * kTokens);
  EXPECT_EQ(m.value("vllm:inter_token_latency_seconds_count" + kLabels), kAnswers * (kTokens - 1));
  EXPECT_EQ(m.value("vllm:request_prompt_tokens_sum" + kLabels), m.value("vllm:prompt_tokens_total" + kLabels));
  EXPECT_EQ(m.value("vllm:iteration_tokens_total_sum" + kLabels),
            m.value("vllm:generation_tokens_total" + kLabels) +
                m.value("sluice_prompt_tokens_by_source_total{model_name=\"demo\",engine=\"0\",source=\"computed\"}"));
  EXPECT_GT(m.value("vllm:request_queue_time_seconds_sum" + kLabels), 0) << "six clients, four sequences";
  EXPECT_LE(m.value("vllm:request_inference_time_seconds_sum" + kLabels) + m.value("vllm:request_queue_time_seconds_sum" + kLabels),
            m.value("vllm:e2e_request_latency_seconds_sum" + kLabels) + 1e-3);
  EXPECT_EQ(m.value("sluice_kv_tokens{model_name=\"demo\",engine=\"0\",state=\"used\"}"), 0);
}

}  // namespace
}  // namespace sluice
