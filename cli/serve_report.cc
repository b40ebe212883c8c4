#include "cli/serve_report.h"

#include <fmt/core.h>

#include <boost/json.hpp>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <utility>
#include <vector>

#include "cli/plot.h"

namespace sluice::cli {
namespace {

namespace json = boost::json;
using bench::Distribution;
using bench::RequestRecord;
using bench::Summary;

constexpr double kMs = 1e3;

struct Row {
  const char *key, *name;
  Distribution Summary::*values;
};
constexpr Row kTimes[] = {{"ttft", "TTFT", &Summary::ttft},
                          {"tpot", "TPOT", &Summary::tpot},
                          {"itl", "ITL", &Summary::itl},
                          {"e2el", "end to end", &Summary::e2el},
                          {"delay", "held back by the client", &Summary::delay}};

// Names as in other load generators for servers of language models, so that scripts read them.
json::object flat(const ServeRun& run) {
  const Summary& s = run.summary;
  json::object o{{"url", run.url},
                 {"model_id", run.model},
                 {"workload", run.workload},
                 {"arrivals", run.arrivals},
                 {"max_concurrency", run.max_concurrency},
                 {"seed", run.seed},
                 {"duration", s.seconds},
                 {"completed", s.completed},
                 {"failed", s.failed},
                 {"unfinished", s.unfinished},
                 {"interrupted", run.load.interrupted},
                 {"max_concurrent_requests", s.peak_concurrency},
                 {"total_input_tokens", s.input_tokens},
                 {"total_output_tokens", s.output_tokens},
                 {"total_cached_tokens", s.cached_tokens},
                 {"requests_without_usage", s.uncounted},
                 {"request_throughput", s.requests_per_s},
                 {"input_throughput", s.input_per_s},
                 {"output_throughput", s.output_per_s},
                 {"total_token_throughput", s.total_per_s}};
  o["request_goodput"] = s.goodput ? json::value(*s.goodput) : json::value();
  for (const Row& row : kTimes) {
    const Distribution& d = s.*row.values;
    for (const auto& [what, value] :
         {std::pair<const char*, double>{"mean", d.mean}, {"median", d.median}, {"p90", d.p90}, {"p99", d.p99}})
      o[fmt::format("{}_{}_ms", what, row.key)] = d.count > 0 ? json::value(value * kMs) : json::value();
  }
  return o;
}

json::object whole(const ServeRun& run) {
  json::object o = flat(run);
  json::object errors;
  for (const auto& [kind, e] : run.summary.errors)
    errors[kind] = {
        {"count", e.count}, {"example", e.example}, {"median_ms", e.latency.median * kMs}, {"p99_ms", e.latency.p99 * kMs}};
  o["errors"] = std::move(errors);
  json::array turns;
  for (const bench::TurnSummary& t : run.summary.turns)
    turns.push_back({{"turn", t.turn + 1},
                     {"requests", t.requests},
                     {"mean_input_tokens", t.input_tokens},
                     {"mean_cached_tokens", t.cached_tokens},
                     {"mean_recomputed_tokens", t.recomputed_tokens},
                     {"mean_output_tokens", t.output_tokens},
                     {"median_ttft_ms", t.ttft.median * kMs},
                     {"p99_ttft_ms", t.ttft.p99 * kMs},
                     {"median_tpot_ms", t.tpot.median * kMs}});
  if (!turns.empty()) o["turns"] = std::move(turns);
  return o;
}

std::string csv(const ServeRun& run) {
  std::string head, values;
  for (const auto& [key, value] : flat(run)) {
    if (!head.empty()) head += ',', values += ',';
    head += std::string_view(key);
    if (value.is_null()) continue;
    if (!value.is_string()) {
      values += value.is_double() ? fmt::format("{:.6g}", value.get_double()) : json::serialize(value);
      continue;
    }
    values += '"';
    for (const char c : value.get_string()) values += c == '"' ? std::string("\"\"") : std::string(1, c);
    values += '"';
  }
  return head + "\n" + values + "\n";
}

// A cell of a table: no bar and no line break.
std::string cell(std::string s) {
  for (char& c : s) {
    if (c == '|' || c == '\n' || c == '\r') c = ' ';
  }
  return s;
}

std::string md(const ServeRun& run) {
  const Summary& s = run.summary;
  std::string out = fmt::format("{} at {}: {}; {}{}\n\n", run.model, run.url, run.workload, run.arrivals,
                                run.load.interrupted ? " (interrupted)" : "");
  out += fmt::format(
      "| requests | failed | unfinished | seconds | most in flight | input tokens | of them cached | output tokens |\n"
      "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n| {} | {} | {} | {:.2f} | {} | {} | {} | {} |\n\n",
      s.completed, s.failed, s.unfinished, s.seconds, s.peak_concurrency, s.input_tokens, s.cached_tokens, s.output_tokens);
  out += "| a second | requests | input tokens | output tokens | all tokens |";
  out += s.goodput ? " good requests |\n| --- | ---: | ---: | ---: | ---: | ---: |\n" : "\n| --- | ---: | ---: | ---: | ---: |\n";
  out += fmt::format("| | {:.3f} | {:.1f} | {:.1f} | {:.1f} |", s.requests_per_s, s.input_per_s, s.output_per_s, s.total_per_s);
  out += s.goodput ? fmt::format(" {:.3f} |\n\n", *s.goodput) : "\n\n";
  out += "| ms | mean | median | p90 | p99 |\n| --- | ---: | ---: | ---: | ---: |\n";
  for (const Row& row : kTimes) {
    const Distribution& d = s.*row.values;
    if (d.count == 0) continue;
    out += fmt::format("| {} | {:.2f} | {:.2f} | {:.2f} | {:.2f} |\n", row.name, d.mean * kMs, d.median * kMs, d.p90 * kMs,
                       d.p99 * kMs);
  }
  if (!s.turns.empty()) {
    out +=
        "\n| turn | requests | input tokens | of them cached | recomputed | output tokens | TTFT ms, median | p99 | TPOT ms, "
        "median |\n"
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n";
    for (const bench::TurnSummary& t : s.turns)
      out += fmt::format("| {} | {} | {:.1f} | {:.1f} | {:.1f} | {:.1f} | {:.2f} | {:.2f} | {:.2f} |\n", t.turn + 1, t.requests,
                         t.input_tokens, t.cached_tokens, t.recomputed_tokens, t.output_tokens, t.ttft.median * kMs,
                         t.ttft.p99 * kMs, t.tpot.median * kMs);
  }
  if (!s.errors.empty()) {
    out += "\n| error | requests | after ms, median | p99 | the first of them |\n| --- | ---: | ---: | ---: | --- |\n";
    for (const auto& [kind, e] : s.errors)
      out += fmt::format("| {} | {} | {:.2f} | {:.2f} | {} |\n", cell(kind), e.count, e.latency.median * kMs, e.latency.p99 * kMs,
                         cell(e.example));
  }
  if (s.uncounted > 0)
    out += fmt::format("\n{} answers came without usage: their output tokens are the events of the stream.\n", s.uncounted);
  return out;
}

// At most this many points of a line, the last one among them.
std::vector<std::pair<double, double>> thinned(std::vector<std::pair<double, double>> points) {
  constexpr size_t kMost = 2000;
  if (points.size() <= kMost) return points;
  std::vector<std::pair<double, double>> out;
  for (size_t i = 0; i < kMost; ++i) out.push_back(points[(i + 1) * points.size() / kMost - 1]);
  return out;
}

}  // namespace

std::string report(const ServeRun& run, const std::string& format) {
  if (format == "json") return json::serialize(whole(run)) + "\n";
  return format == "csv" ? csv(run) : md(run);
}

Status save_requests(const ServeRun& run, const std::string& path) {
  json::object o = whole(run);
  json::array requests;
  for (const RequestRecord& r : run.load.records) {
    json::object q{{"session", r.session},
                   {"turn", r.turn},
                   {"arrival_s", r.arrival},
                   {"start_s", r.start},
                   {"end_s", r.end},
                   {"input_tokens", r.input_tokens},
                   {"cached_tokens", r.cached_tokens},
                   {"output_tokens", r.output_tokens}};
    if (r.ok()) {
      q["ttft_ms"] = r.ttft() * kMs;
      json::array gaps;
      for (const float g : r.gaps) gaps.push_back(std::round(double(g) * 1e6) / 1e3);  // whole microseconds
      q["itl_ms"] = std::move(gaps);
    } else {
      q["error"] = r.error;
      q["detail"] = r.detail;
    }
    requests.push_back(std::move(q));
  }
  o["requests"] = std::move(requests);
  const std::string part = path + ".part";
  std::ofstream f(part, std::ios::binary);
  f << json::serialize(o) << "\n";
  f.close();
  if (f && std::rename(part.c_str(), path.c_str()) == 0) return {};
  std::remove(part.c_str());
  return {Code::kIo, path + ": cannot be written", "give --save a path in a writable folder"};
}

Status plot(const ServeRun& run, const std::string& path) {
  constexpr int kBins = 60;
  std::vector<double> ttft, itl;
  for (const RequestRecord& r : run.load.records) {
    if (!r.ok()) continue;
    ttft.push_back(r.ttft() * kMs);
    for (const float g : r.gaps) itl.push_back(double(g) * kMs);
  }
  Line flight{"", thinned(bench::in_flight(run.load.records)), true};
  Line rate{"", run.summary.completed > 0 ? bench::token_rate(run.load.records, run.summary.seconds, kBins)
                                          : std::vector<std::pair<double, double>>{}};
  return write_line_charts(path, run.model + ": " + run.workload + "; " + run.arrivals,
                           {{"time to the first token: share of the requests", "ms", {cumulative("", std::move(ttft))}, true},
                            {"gaps between tokens: share of the gaps", "ms", {cumulative("", std::move(itl))}, true},
                            {"output tokens a second", "s", {std::move(rate)}},
                            {"requests in flight", "s", {std::move(flight)}}});
}

}  // namespace sluice::cli
