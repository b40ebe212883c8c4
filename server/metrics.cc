#include "server/metrics.h"

#include "base/clock.h"
#include "server/exposition.h"
#include "server/process_stats.h"
#include "text/utf8.h"

namespace sluice {
namespace {

// Bounds in seconds: those of vLLM's metrics, so that dashboards and recorded rules for them mean the same here.
constexpr double kFirstTokenBounds[] = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                        1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
constexpr double kTokenBounds[] = {.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .3,
                                   .4,   .5,    .75,  1,   2.5,  5,   7.5,  10, 20,  40, 80};
constexpr double kRequestBounds[] = {.01, .025, .05, .1, .3, .5, .8,  1,   1.5, 2,   2.5,  5,   10,
                                     15,  20,   30,  40, 50, 60, 120, 240, 480, 960, 1920, 7680};
constexpr double kChoiceBounds[] = {1, 2, 5, 10, 20};

// 1, 2, 5, 10, 20, 50, ... up to `most`.
std::vector<double> token_bounds(int64_t most) {
  std::vector<double> bounds;
  for (int64_t ten = 1; ten <= most; ten *= 10)
    for (const int64_t step : {1, 2, 5})
      if (ten * step <= most) bounds.push_back(double(ten * step));
  return bounds;
}

// A byte that is not UTF-8 would make scrapers refuse all of the text.
std::string valid_utf8(std::string_view text) {
  std::string out;
  append_lossy(out, text);
  return out;
}

constexpr const char* finished_reason(FinishReason r) {
  constexpr const char* kNames[] = {"none", "stop", "length", "abort", "error"};  // vLLM's words
  return kNames[static_cast<int>(r)];
}
constexpr FinishReason kFinishReasons[] = {FinishReason::kStop, FinishReason::kLength, FinishReason::kCancelled,
                                           FinishReason::kError};

double ratio(int64_t part, int64_t whole) { return whole > 0 ? double(part) / double(whole) : 0; }

}  // namespace

// The text as it grows, with the labels that all of the engine's samples have.
class Metrics::Page {
 public:
  Page(const std::string& model, bool aliases) : aliases_(aliases), labels_{{"model_name", model}, {"engine", "0"}} {}

  // A family of one sample.
  template <class Value>
  void own(std::string_view name, std::string_view type, std::string_view help, const Value& value) {
    family("sluice_", name, type, help);
    out.sample(labels_, value);
  }
  template <class Value>
  void alias(std::string_view full_name, std::string_view type, std::string_view help, const Value& value) {
    if (!aliases_) return;
    out.family(full_name, type, help);
    out.sample(labels_, value);
  }
  // As sluice_NAME and as vllm:NAME.
  template <class Value>
  void both(std::string_view name, std::string_view type, std::string_view help, const Value& value) {
    own(name, type, help, value);
    alias("vllm:" + std::string(name), type, help, value);
  }

  // A family by one more label.
  struct Part {
    std::string_view value;
    int64_t count;
  };
  void parts(std::string_view prefix, std::string_view name, std::string_view type, std::string_view help, std::string_view label,
             const std::vector<Part>& parts) {
    family(prefix, name, type, help);
    MetricLabels labels = labels_;
    labels.emplace_back(label, "");
    for (const Part& p : parts) labels.back().second = p.value, out.sample(labels, p.count);
  }
  // Seconds of each step part, as StepPart counts them.
  void step_parts(std::string_view name, std::string_view help, std::span<const double> seconds) {
    family("sluice_", name, "counter", help);
    MetricLabels labels = labels_;
    labels.emplace_back("part", "");
    for (size_t i = 0; i < seconds.size(); ++i) labels.back().second = kStepPartNames[i], out.sample(labels, seconds[i]);
  }
  // Of the server rather than of a model.
  void server(std::string_view name, std::string_view type, std::string_view help, int64_t value) {
    family("sluice_", name, type, help);
    out.sample({}, value);
  }
  void server_parts(std::string_view name, std::string_view help, std::string_view label, const std::vector<Part>& parts) {
    family("sluice_", name, "counter", help);
    for (const Part& p : parts) out.sample({{label, p.value}}, p.count);
  }
  bool aliases() const { return aliases_; }

  Exposition out;

 private:
  void family(std::string_view prefix, std::string_view name, std::string_view type, std::string_view help) {
    out.family(std::string(prefix) + std::string(name), type, help);
  }
  const bool aliases_;
  const MetricLabels labels_;
};

Metrics::Metrics(Options options)
    : options_{valid_utf8(options.model), options.max_context, valid_utf8(options.version)},
      time_to_first_token_(kFirstTokenBounds),
      inter_token_latency_(kTokenBounds),
      time_per_output_token_(kTokenBounds),
      request_seconds_(kRequestBounds),
      queue_time_(kRequestBounds),
      prefill_time_(kRequestBounds),
      decode_time_(kRequestBounds),
      inference_time_(kRequestBounds),
      prompt_tokens_(token_bounds(options.max_context)),
      generation_tokens_(token_bounds(options.max_context)),
      params_n_(kChoiceBounds),
      params_max_tokens_(token_bounds(options.max_context)) {}

void Metrics::observe_request(const RequestRecord& r) {
  const Usage& u = r.usage;
  finished_[size_t(r.finish)].fetch_add(1, std::memory_order_relaxed);
  request_seconds_.observe(r.ended - r.arrived);
  prompt_tokens_.observe(double(u.prompt_tokens));
  generation_tokens_.observe(double(u.completion_tokens));
  params_max_tokens_.observe(double(r.max_tokens));
  if (r.n > 0) params_n_.observe(double(r.n));
  // One that ended while it waited has waited all its time.
  if (u.submitted > 0) queue_time_.observe((u.admitted > 0 ? u.admitted : r.ended) - u.submitted);
  if (u.admitted == 0) return;
  inference_time_.observe(r.ended - u.admitted);
  prefill_time_.observe((r.first_token > 0 ? r.first_token : r.ended) - u.admitted);
  if (r.first_token == 0) return;
  decode_time_.observe(r.ended - r.first_token);
  if (u.completion_tokens > 1) time_per_output_token_.observe((r.ended - r.first_token) / double(u.completion_tokens - 1));
}

void Metrics::engine_gauges(Page& page, const EngineLoop::Report& r) const {
  const auto& s = r.scheduler;
  page.both("num_requests_running", "gauge", "Requests that a step serves.", s.running);
  page.both("num_requests_waiting", "gauge", "Requests that wait for a slot or for pages.", s.waiting);
  page.own("waiting_tokens", "gauge", "Tokens of the requests that wait.", s.waiting_tokens);
  const int64_t live = r.state_slots - r.state_free - r.snapshots;
  page.parts("sluice_", "state_slots", "gauge",
             "State slots: of running requests, of snapshots in the prefix cache (given up when needed), and free.", "state",
             {{"used", live}, {"cached", r.snapshots}, {"free", r.state_free}});
  const int64_t used = r.kv_pages - r.kv_free - r.kv_cached, page_tokens = KvPool::kPageTokens;
  page.parts("sluice_", "kv_tokens", "gauge",
             "KV cache in tokens: of running requests, of the prefix cache alone (given up when needed), and free.", "state",
             {{"used", used * page_tokens}, {"cached", r.kv_cached * page_tokens}, {"free", r.kv_free * page_tokens}});
  page.both("kv_cache_usage_perc", "gauge", "The part of the KV cache that running requests use, 0 to 1.", ratio(used, r.kv_pages));
  page.alias("sglang:num_running_reqs", "gauge", "See sluice_num_requests_running.", s.running);
  page.alias("sglang:num_queue_reqs", "gauge", "See sluice_num_requests_waiting.", s.waiting);
  page.alias("sglang:token_usage", "gauge", "See sluice_kv_cache_usage_perc.", ratio(used, r.kv_pages));
  page.alias("sglang:mamba_usage", "gauge", "The part of the state slots that running requests use, 0 to 1.",
             ratio(live, r.state_slots));
  page.alias("sglang:mamba_used_tokens", "gauge", "See sluice_state_slots.", live);
  page.alias("sglang:mamba_available_tokens", "gauge", "See sluice_state_slots.", r.state_free);
  page.alias("sglang:mamba_evictable_tokens", "gauge", "See sluice_state_slots.", r.snapshots);
}

void Metrics::engine_counters(Page& page, const EngineLoop::Report& r) const {
  const auto& s = r.scheduler;
  page.own("steps_total", "counter", "Steps of the engine.", s.steps);
  page.own("step_failures_total", "counter", "Steps that failed, and with them all that ran.", r.failed_steps);
  page.own("busy_seconds_total", "counter", "Time in steps: its rate is the part of the time that the engine works.", r.busy_s);
  page.step_parts("step_part_seconds_total",
                  "Time in steps by what is done: plan, the model's forward, sample, the draft head, deliver.", s.seconds);
  page.own("step_seconds", "histogram", "Duration of a step.", r.step_seconds);
  page.own("iteration_tokens", "histogram", "Tokens of a step: computed of prompts and drawn for answers.", r.step_tokens);
  page.alias("vllm:iteration_tokens_total", "histogram", "See sluice_iteration_tokens.", r.step_tokens);
  page.parts("sluice_", "prompt_tokens_by_source_total", "counter", "Prompt tokens, computed or found in the prefix cache.",
             "source", {{"computed", s.prompt_tokens}, {"cached", s.cached_tokens}});
  page.both("prompt_tokens_total", "counter", "Prompt tokens, cached ones included; again after a preemption.",
            s.prompt_tokens + s.cached_tokens);
  page.both("generation_tokens_total", "counter", "Tokens of answers.", s.generated_tokens);
  page.both("num_preemptions_total", "counter", "Requests put back into the queue because pages ran out.", s.preemptions);
  page.both("corrupted_requests_total", "counter", "Requests that ended because the model's logits were not finite.", s.not_finite);
  page.both("admission_rejections_total", "counter", "Requests refused (429) because too many waited.", r.refused);
  page.both("spec_decode_num_draft_tokens_total", "counter", "Tokens that the draft head guessed.", s.drafted);
  page.both("spec_decode_num_accepted_tokens_total", "counter", "Guesses that came true.", s.accepted);
  page.alias("sglang:prompt_tokens_total", "counter", "See sluice_prompt_tokens_total.", s.prompt_tokens + s.cached_tokens);
  page.alias("sglang:generation_tokens_total", "counter", "See sluice_generation_tokens_total.", s.generated_tokens);
  page.alias("sglang:cached_tokens_total", "counter", "See sluice_prompt_tokens_by_source_total.", s.cached_tokens);
}

void Metrics::cache_metrics(Page& page, const EngineLoop::Report& r) const {
  const auto& c = r.cache;
  page.both("prefix_cache_queries_total", "counter", "Tokens that were looked up in the prefix cache.", c.query_tokens);
  page.both("prefix_cache_hits_total", "counter", "Tokens of these that were there.", c.hit_tokens);
  page.own("state_snapshot_hits_total", "counter", "Requests that went on from a snapshot.", c.hits);
  page.own("state_snapshot_misses_total", "counter", "Requests that found none.", c.queries - c.hits);
  page.own("state_snapshot_evictions_total", "counter", "Snapshots given up for something else.", c.evictions);
  page.own("state_snapshot_error", "histogram",
           "Relative RMS error of each snapshot that was kept in int8, in its worst head; none with --snapshots fp32.",
           r.snapshot_errors);
}

void Metrics::request_metrics(Page& page) const {
  std::vector<Page::Part> finished;
  for (const FinishReason reason : kFinishReasons)
    finished.push_back({finished_reason(reason), finished_[size_t(reason)].load(std::memory_order_relaxed)});
  for (const std::string_view prefix : {"sluice_", "vllm:"})
    if (prefix == "sluice_" || page.aliases())
      page.parts(prefix, "request_success_total", "counter", "Answers that have ended, by reason.", "finished_reason", finished);
  page.alias("sglang:num_aborted_requests_total", "counter", "Answers that were cancelled.",
             finished_[size_t(FinishReason::kCancelled)].load(std::memory_order_relaxed));
  const auto histogram = [&](std::string_view name, const Histogram& h, std::string_view help) {
    page.both(name, "histogram", help, h.read());
  };
  histogram("time_to_first_token_seconds", time_to_first_token_, "From a request's arrival to its first token.");
  histogram("inter_token_latency_seconds", inter_token_latency_, "Between two tokens; those of one step share its time.");
  histogram("request_time_per_output_token_seconds", time_per_output_token_, "A request's mean time between two tokens.");
  histogram("e2e_request_latency_seconds", request_seconds_, "From a request's arrival to its end.");
  histogram("request_queue_time_seconds", queue_time_, "From a request's handover to the engine to its admission.");
  histogram("request_prefill_time_seconds", prefill_time_, "From admission to the first token.");
  histogram("request_decode_time_seconds", decode_time_, "From the first token to the end.");
  histogram("request_inference_time_seconds", inference_time_, "From admission to the end.");
  histogram("request_prompt_tokens", prompt_tokens_, "Tokens of a request's prompt.");
  histogram("request_generation_tokens", generation_tokens_, "Tokens of an answer.");
  histogram("request_params_n", params_n_, "Choices that a request asked for.");
  histogram("request_params_max_tokens", params_max_tokens_, "Most tokens that a request allowed.");
}

void Metrics::http_metrics(Page& page, const HttpCounters& c) const {
  page.server("http_connections", "gauge", "Open connections.", c.connections_open);
  page.server("http_requests_running", "gauge", "Requests that have no whole answer yet.", c.requests_running);
  page.server("http_streams", "gauge", "Answers that are being streamed.", c.streams_open);
  page.server("http_connections_total", "counter", "Connections so far.", c.connections_total);
  page.server("http_received_bytes_total", "counter", "Bytes from clients.", c.bytes_in);
  page.server("http_sent_bytes_total", "counter", "Bytes to clients.", c.bytes_out);
  page.server_parts("http_responses_total", "Answers by status class; none: the client was gone before.", "code",
                    {{"none", c.responses[0]},
                     {"1xx", c.responses[1]},
                     {"2xx", c.responses[2]},
                     {"3xx", c.responses[3]},
                     {"4xx", c.responses[4]},
                     {"5xx", c.responses[5]}});
  std::vector<Page::Part> rejected;
  for (size_t i = 0; i < size_t(Rejected::kCount); ++i) rejected.push_back({name_of(Rejected(i)), c.count(Rejected(i))});
  page.server_parts("http_rejected_total", "Requests and connections that the server itself turned away.", "reason", rejected);
  page.server_parts(
      "http_cancelled_total", "Answers that were cut.", "reason",
      {{"client_gone", c.cancelled_client_gone}, {"slow_reader", c.cancelled_slow_reader}, {"shutdown", c.cancelled_shutdown}});
}

std::string Metrics::render(const MetricsReading& now, bool aliases) const {
  Page page(options_.model, aliases);
  engine_gauges(page, now.engine);
  engine_counters(page, now.engine);
  cache_metrics(page, now.engine);
  request_metrics(page);
  page.server("draining", "gauge", "1 while the server takes no new requests and waits for the running ones.", now.draining);
  if (now.http) http_metrics(page, *now.http);
  page.out.family("sluice_build_info", "gauge", "1, with the program's version.");
  page.out.sample({{"version", options_.version}}, int64_t{1});
  append_process_stats(page.out);
  return page.out.text();
}

void AnswerWatch::event(const Event& e) {
  const double now = now_seconds();
  if (!e.tokens.empty()) {
    const int64_t count = int64_t(e.tokens.size());
    if (last_token_ > 0) metrics_->observe_token_gap((now - last_token_) / double(count), count);
    else metrics_->observe_first_token(now - record_.arrived), record_.first_token = now;
    last_token_ = now;
  }
  if (e.finish == FinishReason::kNone) return;
  record_.usage = e.usage, record_.ended = now, record_.finish = e.finish;
  metrics_->observe_request(record_);
}

void add_metrics_route(Router& router, const Metrics& metrics, std::function<MetricsReading()> read) {
  const auto handler = [&metrics, read = std::move(read)](const HttpRequest& request, const Responder& responder) {
    const bool aliases = request.query_value("aliases") != "no";
    responder.respond(200, {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}, {"Cache-Control", "no-store"}},
                      metrics.render(read(), aliases));
  };
  router.add("GET", "/metrics", handler, {.needs_key = true, .while_draining = true});
}

}  // namespace sluice
