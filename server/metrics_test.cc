// What is counted, and how it is written.
#include "server/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <thread>

#include "base/clock.h"
#include "server/exposition.h"
#include "tests/support/metrics_text.h"

namespace sluice {
namespace {

using testing::MetricsText;
using testing::read_metrics;

const std::string kLabels = "{model_name=\"m\",engine=\"0\"}";

std::string with(const std::string& label, const std::string& value) {
  return "{model_name=\"m\",engine=\"0\"," + label + "=\"" + value + "\"}";
}

Metrics make() { return Metrics({.model = "m", .max_context = 4096, .version = "1.2"}); }

EngineLoop::Report report() {
  EngineLoop::Report r;
  r.scheduler = {.running = 3,
                 .waiting = 2,
                 .waiting_tokens = 70,
                 .steps = 11,
                 .prompt_tokens = 500,
                 .cached_tokens = 128,
                 .generated_tokens = 90,
                 .drafted = 40,
                 .accepted = 30,
                 .preemptions = 1,
                 .not_finite = 4,
                 .seconds = {0.5, 1.5, 0.25, 0.125, 0.0625}};
  r.cache = {.queries = 9, .hits = 2, .hit_tokens = 128, .query_tokens = 700, .evictions = 5};
  r.state_slots = 10, r.state_free = 3, r.snapshots = 4;
  r.snapshot_errors.add(0.0055), r.snapshot_errors.add(0.0045);
  r.kv_pages = 100, r.kv_free = 40, r.kv_cached = 35;
  r.busy_s = 1.25, r.failed_steps = 6, r.refused = 7;
  for (const double tokens : {1, 2, 8, 9, 20000}) r.step_tokens.add(tokens);
  return r;
}

TEST(Exposition, WritesTheTextFormat) {
  Exposition e;
  e.family("a", "gauge", "One \\ \"two\"\nthree.");
  e.sample({}, int64_t{-3});
  e.sample({{"x", "q\"b\\n\nz"}, {"y", ""}}, 0.1);
  e.sample({{"x", "nan"}}, std::nan(""));
  e.sample({{"x", "inf"}}, std::numeric_limits<double>::infinity());
  e.sample({{"x", "large"}}, int64_t{9007199254740993});
  constexpr double kBounds[] = {0.005, 1, 2560};
  HistogramCounts h(kBounds);
  for (const double v : {0.0, 0.005, 0.25, 1.0, 3000.0, 2560.0}) h.add(v);
  e.family("b", "histogram", "Four.");
  e.sample({{"l", "v"}}, h);
  EXPECT_EQ(e.text(),
            "# HELP a One \\\\ \"two\"\\nthree.\n"
            "# TYPE a gauge\n"
            "a -3\n"
            "a{x=\"q\\\"b\\\\n\\nz\",y=\"\"} 0.1\n"
            "a{x=\"nan\"} NaN\n"
            "a{x=\"inf\"} +Inf\n"
            "a{x=\"large\"} 9007199254740993\n"
            "# HELP b Four.\n"
            "# TYPE b histogram\n"
            "b_bucket{l=\"v\",le=\"0.005\"} 2\n"
            "b_bucket{l=\"v\",le=\"1\"} 4\n"
            "b_bucket{l=\"v\",le=\"2560\"} 5\n"
            "b_bucket{l=\"v\",le=\"+Inf\"} 6\n"
            "b_sum{l=\"v\"} 5561.255\n"
            "b_count{l=\"v\"} 6\n");
}

TEST(Metrics, TellsWhatTheEngineReports) {
  const MetricsText m = read_metrics(make().render({.engine = report()}));
  EXPECT_EQ(m.value("sluice_num_requests_running" + kLabels), 3);
  EXPECT_EQ(m.value("vllm:num_requests_waiting" + kLabels), 2);
  EXPECT_EQ(m.value("sluice_waiting_tokens" + kLabels), 70);
  EXPECT_EQ(m.value("sluice_state_slots" + with("state", "used")), 3);
  EXPECT_EQ(m.value("sluice_state_slots" + with("state", "cached")), 4);
  EXPECT_EQ(m.value("sluice_state_slots" + with("state", "free")), 3);
  EXPECT_EQ(m.value("sluice_state_snapshot_error_bucket" + with("le", "0.005")), 1);
  EXPECT_EQ(m.value("sluice_state_snapshot_error_bucket" + with("le", "0.006")), 2);
  EXPECT_DOUBLE_EQ(m.value("sluice_state_snapshot_error_sum" + kLabels), 0.01);
  EXPECT_EQ(m.value("sluice_kv_tokens" + with("state", "used")), 25 * 64);
  EXPECT_EQ(m.value("sluice_kv_tokens" + with("state", "cached")), 35 * 64);
  EXPECT_EQ(m.value("sluice_kv_tokens" + with("state", "free")), 40 * 64);
  EXPECT_EQ(m.value("vllm:kv_cache_usage_perc" + kLabels), 0.25);
  EXPECT_EQ(m.value("sglang:mamba_usage" + kLabels), 0.3);
  EXPECT_EQ(m.value("sglang:mamba_available_tokens" + kLabels), 3);
  EXPECT_EQ(m.value("sglang:mamba_evictable_tokens" + kLabels), 4);
  EXPECT_EQ(m.value("sluice_steps_total" + kLabels), 11);
  EXPECT_EQ(m.value("sluice_step_failures_total" + kLabels), 6);
  EXPECT_EQ(m.value("sluice_busy_seconds_total" + kLabels), 1.25);
  EXPECT_EQ(m.value("sluice_step_part_seconds_total" + with("part", "plan")), 0.5);
  EXPECT_EQ(m.value("sluice_step_part_seconds_total" + with("part", "deliver")), 0.0625);
  EXPECT_EQ(m.value("sluice_prompt_tokens_by_source_total" + with("source", "computed")), 500);
  EXPECT_EQ(m.value("sluice_prompt_tokens_by_source_total" + with("source", "cached")), 128);
  EXPECT_EQ(m.value("vllm:prompt_tokens_total" + kLabels), 628);
  EXPECT_EQ(m.value("vllm:generation_tokens_total" + kLabels), 90);
  EXPECT_EQ(m.value("sglang:cached_tokens_total" + kLabels), 128);
  EXPECT_EQ(m.value("vllm:num_preemptions_total" + kLabels), 1);
  EXPECT_EQ(m.value("vllm:corrupted_requests_total" + kLabels), 4);
  EXPECT_EQ(m.value("vllm:admission_rejections_total" + kLabels), 7);
  EXPECT_EQ(m.value("vllm:spec_decode_num_draft_tokens_total" + kLabels), 40);
  EXPECT_EQ(m.value("vllm:spec_decode_num_accepted_tokens_total" + kLabels), 30);
  EXPECT_EQ(m.value("vllm:prefix_cache_queries_total" + kLabels), 700);
  EXPECT_EQ(m.value("vllm:prefix_cache_hits_total" + kLabels), 128);
  EXPECT_EQ(m.value("sluice_state_snapshot_hits_total" + kLabels), 2);
  EXPECT_EQ(m.value("sluice_state_snapshot_misses_total" + kLabels), 7);
  EXPECT_EQ(m.value("sluice_state_snapshot_evictions_total" + kLabels), 5);
  EXPECT_EQ(m.value("vllm:iteration_tokens_total_bucket" + with("le", "1")), 1);
  EXPECT_EQ(m.value("vllm:iteration_tokens_total_bucket" + with("le", "8")), 3);
  EXPECT_EQ(m.value("vllm:iteration_tokens_total_bucket" + with("le", "16384")), 4);
  EXPECT_EQ(m.value("vllm:iteration_tokens_total_bucket" + with("le", "+Inf")), 5);
  EXPECT_EQ(m.value("vllm:iteration_tokens_total_sum" + kLabels), 20020);
  EXPECT_EQ(m.value("sluice_build_info{version=\"1.2\"}"), 1);
  EXPECT_EQ(m.value("sluice_draining"), 0);
}

TEST(Metrics, TellsWhatTheHttpServerCounts) {
  HttpCounters c;
  c.connections_open = 2, c.connections_total = 12, c.requests_running = 1, c.streams_open = 1, c.bytes_in = 100, c.bytes_out = 200;
  c.responses[0] = 1, c.responses[2] = 5, c.responses[4] = 3;
  c.reject(Rejected::kKey), c.reject(Rejected::kKey), c.reject(Rejected::kDraining);
  c.cancelled_client_gone = 4, c.cancelled_slow_reader = 5, c.cancelled_shutdown = 6;
  const MetricsText m = read_metrics(make().render({.http = &c, .draining = true}));
  EXPECT_EQ(m.value("sluice_http_connections"), 2);
  EXPECT_EQ(m.value("sluice_http_connections_total"), 12);
  EXPECT_EQ(m.value("sluice_http_requests_running"), 1);
  EXPECT_EQ(m.value("sluice_http_streams"), 1);
  EXPECT_EQ(m.value("sluice_http_received_bytes_total"), 100);
  EXPECT_EQ(m.value("sluice_http_sent_bytes_total"), 200);
  EXPECT_EQ(m.value("sluice_http_responses_total{code=\"none\"}"), 1);
  EXPECT_EQ(m.value("sluice_http_responses_total{code=\"2xx\"}"), 5);
  EXPECT_EQ(m.value("sluice_http_responses_total{code=\"4xx\"}"), 3);
  EXPECT_EQ(m.value("sluice_http_rejected_total{reason=\"key\"}"), 2);
  EXPECT_EQ(m.value("sluice_http_rejected_total{reason=\"draining\"}"), 1);
  EXPECT_EQ(m.value("sluice_http_cancelled_total{reason=\"client_gone\"}"), 4);
  EXPECT_EQ(m.value("sluice_http_cancelled_total{reason=\"slow_reader\"}"), 5);
  EXPECT_EQ(m.value("sluice_http_cancelled_total{reason=\"shutdown\"}"), 6);
  EXPECT_EQ(m.value("sluice_draining"), 1);
  EXPECT_EQ(make().render({}).find("sluice_http"), std::string::npos) << "no server yet";
}

TEST(Metrics, RequestsFillTheHistograms) {
  Metrics metrics = make();
  metrics.observe_request({.usage = {.prompt_tokens = 100, .completion_tokens = 11, .submitted = 10.125, .admitted = 10.625},
                           .arrived = 10,
                           .first_token = 11.625,
                           .ended = 16.625,
                           .n = 2,
                           .max_tokens = 64,
                           .finish = FinishReason::kLength});
  // Waited and was cancelled; then one that the engine refused.
  metrics.observe_request(
      {.usage = {.prompt_tokens = 7, .submitted = 20}, .arrived = 20, .ended = 24, .finish = FinishReason::kCancelled});
  metrics.observe_request({.usage = {.prompt_tokens = 1}, .arrived = 30, .ended = 30.5, .finish = FinishReason::kError});
  const MetricsText m = read_metrics(metrics.render({}));
  const auto expect = [&](const std::string& name, double count, double sum) {
    EXPECT_EQ(m.value("vllm:" + name + "_count" + kLabels), count) << name;
    EXPECT_EQ(m.value("vllm:" + name + "_sum" + kLabels), sum) << name;
  };
  expect("e2e_request_latency_seconds", 3, 6.625 + 4 + 0.5);
  expect("request_queue_time_seconds", 2, 0.5 + 4);
  expect("request_prefill_time_seconds", 1, 1);
  expect("request_decode_time_seconds", 1, 5);
  expect("request_inference_time_seconds", 1, 6);
  expect("request_time_per_output_token_seconds", 1, 0.5);
  expect("request_prompt_tokens", 3, 108);
  expect("request_generation_tokens", 3, 11);
  expect("request_params_n", 1, 2);
  expect("request_params_max_tokens", 3, 64);
  EXPECT_EQ(m.value("vllm:request_prompt_tokens_bucket" + with("le", "100")), 3);
  EXPECT_EQ(m.value("vllm:request_prompt_tokens_bucket" + with("le", "50")), 2);
  EXPECT_EQ(m.samples.count("vllm:request_prompt_tokens_bucket" + with("le", "2000")), 1u);
  EXPECT_EQ(m.samples.count("vllm:request_prompt_tokens_bucket" + with("le", "5000")), 0u) << "the context ends before";
  EXPECT_EQ(m.value("vllm:request_success_total" + with("finished_reason", "length")), 1);
  EXPECT_EQ(m.value("vllm:request_success_total" + with("finished_reason", "abort")), 1);
  EXPECT_EQ(m.value("vllm:request_success_total" + with("finished_reason", "error")), 1);
  EXPECT_EQ(m.value("vllm:request_success_total" + with("finished_reason", "stop")), 0);
  EXPECT_EQ(m.value("sglang:num_aborted_requests_total" + kLabels), 1);
}

TEST(Metrics, AWatchTellsTokensFromSteps) {
  Metrics metrics = make();
  const double arrived = now_seconds() - 100;
  AnswerWatch watch(metrics, arrived, 32, 1);
  const std::vector<SampledToken> one(1), four(4);
  watch.event({.prompt_done = 64});
  EXPECT_EQ(read_metrics(metrics.render({})).value("vllm:time_to_first_token_seconds_count" + kLabels), 0);
  watch.event({.tokens = one});
  std::this_thread::sleep_for(std::chrono::milliseconds(40));
  watch.event({.tokens = four});
  watch.event({.tokens = one,
               .finish = FinishReason::kStop,
               .usage = {.prompt_tokens = 64, .completion_tokens = 6, .submitted = arrived, .admitted = arrived + 50}});
  const MetricsText m = read_metrics(metrics.render({}));
  EXPECT_EQ(m.value("vllm:time_to_first_token_seconds_count" + kLabels), 1);
  EXPECT_NEAR(m.value("vllm:time_to_first_token_seconds_sum" + kLabels), 100, 5);
  EXPECT_EQ(m.value("vllm:inter_token_latency_seconds_count" + kLabels), 5) << "four of one step, and one";
  EXPECT_EQ(m.value("vllm:inter_token_latency_seconds_bucket" + with("le", "0.005")), 1) << "a quarter of 40 ms each is above";
  EXPECT_GE(m.value("vllm:inter_token_latency_seconds_sum" + kLabels), 0.04);
  EXPECT_LT(m.value("vllm:inter_token_latency_seconds_sum" + kLabels), 4);
  EXPECT_NEAR(m.value("vllm:request_queue_time_seconds_sum" + kLabels), 50, 5);
  EXPECT_NEAR(m.value("vllm:request_prefill_time_seconds_sum" + kLabels), 50, 5);
  EXPECT_EQ(m.value("vllm:request_success_total" + with("finished_reason", "stop")), 1);
}

// What has a name of ours and of vLLM's says the same under both, and nothing is there for dashboards alone.
TEST(Metrics, AliasesAreTwins) {
  Metrics metrics = make();
  metrics.observe_first_token(0.3);
  metrics.observe_token_gap(0.02, 3);
  const HttpCounters http;
  const MetricsText all = read_metrics(metrics.render({.engine = report(), .http = &http}));
  int twins = 0;
  for (const auto& [series, value] : all.samples) {
    if (series.rfind("vllm:", 0) != 0) continue;
    std::string own = "sluice_" + series.substr(5);
    if (const size_t at = own.find("iteration_tokens_total"); at != std::string::npos) own.erase(at + 16, 6);
    EXPECT_EQ(all.value(own), value) << series;
    ++twins;
  }
  EXPECT_GT(twins, 200);
  for (const auto& [family, type] : all.types) {
    const bool total = family.ends_with("_total") && family != "vllm:iteration_tokens_total";
    EXPECT_EQ(type == "counter", total) << family;
  }
  const MetricsText own = read_metrics(metrics.render({.engine = report(), .http = &http}, false));
  for (const auto& [family, type] : own.types) EXPECT_EQ(family.find(':'), std::string::npos) << family;
  EXPECT_GT(own.types.size(), 50u);
}

TEST(Metrics, NamesOfModelsAreEscaped) {
  const Metrics odd({.model = "a\"b\\c\nd\xff", .max_context = 10});
  const std::string text = odd.render({});
  EXPECT_NE(text.find("{model_name=\"a\\\"b\\\\c\\nd\xEF\xBF\xBD\",engine=\"0\"}"), std::string::npos) << text.substr(0, 300);
  (void)read_metrics(text);
}

TEST(Metrics, TheProcessIsThere) {
  const MetricsText m = read_metrics(make().render({}));
  EXPECT_GT(m.value("process_resident_memory_bytes"), 1e6);
  EXPECT_LT(m.value("process_resident_memory_bytes"), m.value("process_virtual_memory_bytes"));
  EXPECT_GE(m.value("process_open_fds"), 3);
  EXPECT_LT(m.value("process_open_fds"), m.value("process_max_fds"));
  EXPECT_NEAR(m.value("process_start_time_seconds"), double(std::time(nullptr)), 600);
  EXPECT_LT(m.value("process_cpu_seconds_total"), 600);
}

}  // namespace
}  // namespace sluice
