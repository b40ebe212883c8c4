#include "bench_client/summary.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace sluice::bench {

double percentile(const std::vector<double>& sorted, double p) {
  if (sorted.empty()) return 0;
  const double at = p * double(sorted.size() - 1);
  const size_t low = size_t(std::floor(at)), high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (at - double(low));
}

Distribution distribution(std::vector<double> values) {
  if (values.empty()) return {};
  std::ranges::sort(values);
  return {int64_t(values.size()), std::accumulate(values.begin(), values.end(), 0.0) / double(values.size()),
          percentile(values, 0.5), percentile(values, 0.9), percentile(values, 0.99)};
}

bool Slo::met_by(const RequestRecord& r) const {
  if (!r.ok()) return false;
  if (ttft && r.ttft() > *ttft) return false;
  if (tpot && r.has_tpot() && r.tpot() > *tpot) return false;  // a single token has no time per further token
  return !e2el || r.latency() <= *e2el;
}

namespace {

struct Values {
  std::vector<double> ttft, tpot, itl, e2el, delay;
  void add(const RequestRecord& r) {
    ttft.push_back(r.ttft());
    e2el.push_back(r.latency());
    delay.push_back(r.start - r.arrival);
    if (r.has_tpot()) tpot.push_back(r.tpot());
    itl.insert(itl.end(), r.gaps.begin(), r.gaps.end());
  }
};

std::vector<TurnSummary> by_turn(const std::vector<RequestRecord>& records) {
  std::map<int64_t, std::pair<TurnSummary, Values>> turns;
  std::map<std::pair<int64_t, int64_t>, int64_t> said;  // tokens up to the end of a session's turn
  for (const RequestRecord& r : records) said[{r.session, r.turn}] = r.input_tokens + r.output_tokens;
  for (const RequestRecord& r : records) {
    if (!r.ok()) continue;
    auto& [t, values] = turns[r.turn];
    values.add(r);
    ++t.requests;
    t.input_tokens += double(r.input_tokens);
    t.cached_tokens += double(r.cached_tokens);
    t.output_tokens += double(r.output_tokens);
    const auto before = said.find({r.session, r.turn - 1});
    if (before != said.end()) t.recomputed_tokens += double(std::max<int64_t>(0, before->second - r.cached_tokens));
  }
  std::vector<TurnSummary> out;
  if (turns.size() < 2) return out;
  for (auto& [turn, both] : turns) {
    auto& [t, values] = both;
    t.turn = turn;
    for (double* sum : {&t.input_tokens, &t.cached_tokens, &t.output_tokens, &t.recomputed_tokens}) *sum /= double(t.requests);
    t.ttft = distribution(std::move(values.ttft));
    t.tpot = distribution(std::move(values.tpot));
    out.push_back(t);
  }
  return out;
}

}  // namespace

std::vector<std::pair<double, double>> in_flight(const std::vector<RequestRecord>& records) {
  std::vector<std::pair<double, int>> changes;
  for (const RequestRecord& r : records) {
    changes.emplace_back(r.start, 1);
    changes.emplace_back(r.end, -1);
  }
  std::ranges::sort(changes);  // at one moment, ends go before starts: they do not overlap
  std::vector<std::pair<double, double>> steps;
  double now = 0;
  for (const auto& [t, change] : changes) steps.emplace_back(t, now += change);
  return steps;
}

std::vector<std::pair<double, double>> token_rate(const std::vector<RequestRecord>& records, double seconds, int bins) {
  std::vector<double> tokens(size_t(bins), 0.0);
  const double width = std::max(seconds, 1e-9) / bins;
  for (const RequestRecord& r : records) {
    if (!r.ok()) continue;
    // An output may hold several tokens (a server that speculates): each has its share.
    const double each = double(r.output_tokens) / double(r.gaps.size() + 1);
    double t = r.first;
    const auto add = [&] { tokens[size_t(std::clamp(int(t / width), 0, bins - 1))] += each; };
    add();
    for (const float gap : r.gaps) {
      t += gap;
      add();
    }
  }
  std::vector<std::pair<double, double>> out;
  for (int i = 0; i < bins; ++i) out.emplace_back((i + 0.5) * width, tokens[size_t(i)] / width);
  return out;
}

Summary summarise(const std::vector<RequestRecord>& records, double seconds, int64_t unfinished, const Slo& slo) {
  Summary s;
  s.seconds = seconds;
  s.unfinished = unfinished;
  Values values;
  std::map<std::string, std::vector<double>> until_known;  // of the failed, by error
  int64_t good = 0;
  for (const RequestRecord& r : records) {
    if (!r.ok()) {
      ++s.failed;
      ErrorCount& e = s.errors[r.error];
      if (e.count++ == 0) e.example = r.detail;
      until_known[r.error].push_back(r.latency());
      continue;
    }
    ++s.completed;
    s.input_tokens += r.input_tokens;
    s.output_tokens += r.output_tokens;
    s.cached_tokens += r.cached_tokens;
    s.uncounted += !r.counted_by_server;
    good += slo.met_by(r);
    values.add(r);
  }
  for (const auto& [t, n] : in_flight(records)) s.peak_concurrency = std::max(s.peak_concurrency, int64_t(n));
  if (seconds > 0) {
    s.requests_per_s = double(s.completed) / seconds;
    s.input_per_s = double(s.input_tokens) / seconds;
    s.output_per_s = double(s.output_tokens) / seconds;
    s.total_per_s = s.input_per_s + s.output_per_s;
  }
  if (slo.any()) s.goodput = seconds > 0 ? double(good) / seconds : 0;
  s.ttft = distribution(std::move(values.ttft));
  s.tpot = distribution(std::move(values.tpot));
  s.itl = distribution(std::move(values.itl));
  s.e2el = distribution(std::move(values.e2el));
  s.delay = distribution(std::move(values.delay));
  for (auto& [error, seconds] : until_known) s.errors[error].latency = distribution(std::move(seconds));
  s.turns = by_turn(records);
  return s;
}

}  // namespace sluice::bench
