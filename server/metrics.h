// What GET /metrics tells: gauges and counters of the engine and of the HTTP server, read where they are kept, and histograms over
// requests, which are counted here.
//
// Everything is there as sluice_NAME; what dashboards made for vLLM look for also as vllm:NAME, with the same labels, buckets and
// meaning, and what SGLang tells of a state pool as sglang:NAME. docs/serving.md lists them.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <string>

#include "base/histogram.h"
#include "engine/loop.h"
#include "server/counters.h"
#include "server/router.h"

namespace sluice {

// One answer that has ended; a request for n choices gives n of them. Times are those of now_seconds(), 0 where it did not come to
// it.
struct RequestRecord {
  Usage usage;
  double arrived = 0;      // at the server
  double first_token = 0;  // when it was there
  double ended = 0;
  int64_t n = 0;  // choices of the request, in the first one's record; 0 in the others
  int64_t max_tokens = 0;
  FinishReason finish = FinishReason::kNone;
};

// What is counted elsewhere, at the time of a scrape.
struct MetricsReading {
  EngineLoop::Report engine;
  const HttpCounters* http = nullptr;  // null: left out, while the server is only starting
  bool draining = false;
};

class Metrics {
 public:
  struct Options {
    std::string model;         // as clients know it
    int64_t max_context = 0;   // the largest bucket of token counts
    std::string version = {};  // of the program
  };
  explicit Metrics(Options options);

  // From any thread; none of them waits for another.
  void observe_first_token(double seconds) { time_to_first_token_.observe(seconds); }
  // Between two tokens of an answer; `tokens`: so many gaps of this length.
  void observe_token_gap(double seconds, int64_t tokens = 1) { inter_token_latency_.observe(seconds, tokens); }
  void observe_request(const RequestRecord& record);

  // aliases: with the names of other servers.
  std::string render(const MetricsReading& now, bool aliases = true) const;

 private:
  class Page;
  void engine_gauges(Page& page, const EngineLoop::Report& r) const;
  void engine_counters(Page& page, const EngineLoop::Report& r) const;
  void cache_metrics(Page& page, const EngineLoop::Report& r) const;
  void request_metrics(Page& page) const;
  void http_metrics(Page& page, const HttpCounters& c) const;

  const Options options_;
  std::array<std::atomic<int64_t>, 5> finished_{};  // by FinishReason
  Histogram time_to_first_token_, inter_token_latency_, time_per_output_token_, request_seconds_;
  Histogram queue_time_, prefill_time_, decode_time_, inference_time_;
  Histogram prompt_tokens_, generation_tokens_, params_n_, params_max_tokens_;
};

// Follows one answer by its events and tells Metrics of it. For the thread that sees the events; it does not wait.
class AnswerWatch {
 public:
  // n: as in RequestRecord. `metrics` must outlive it.
  AnswerWatch(Metrics& metrics, double arrived, int64_t max_tokens, int64_t n) : metrics_(&metrics) {
    record_.arrived = arrived, record_.max_tokens = max_tokens, record_.n = n;
  }
  void event(const Event& event);

 private:
  Metrics* metrics_;
  RequestRecord record_;
  double last_token_ = 0;
};

// GET /metrics; with ?aliases=no only the names that begin with sluice_ and process_. Needs a key where the server has one, and
// works while it drains. `read` is called on an I/O thread and must not block; `metrics` must outlive the server.
void add_metrics_route(Router& router, const Metrics& metrics, std::function<MetricsReading()> read);

}  // namespace sluice
