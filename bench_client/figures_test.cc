// Arrival processes, and the figures made of records.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "bench_client/arrivals.h"
#include "bench_client/summary.h"

namespace sluice::bench {
namespace {

std::vector<double> gaps_of(const std::vector<double>& times) {
  std::vector<double> gaps;
  for (size_t i = 1; i < times.size(); ++i) gaps.push_back(times[i] - times[i - 1]);
  return gaps;
}

// Mean, and the square of the deviation over the mean: 1 / burstiness for gamma gaps.
std::pair<double, double> moments(const std::vector<double>& v) {
  const double mean = std::accumulate(v.begin(), v.end(), 0.0) / double(v.size());
  double square = 0;
  for (const double x : v) square += (x - mean) * (x - mean);
  return {mean, square / double(v.size()) / (mean * mean)};
}

TEST(Arrivals, MeanRateAndSpread) {
  for (const double burstiness : {0.25, 0.5, 1.0, 4.0, 100.0}) {
    const auto times = arrival_times(100001, {20, burstiness}, 7);
    EXPECT_EQ(times[0], 0);
    EXPECT_TRUE(std::ranges::is_sorted(times));
    const auto [mean, spread] = moments(gaps_of(times));
    // Five deviations of the mean of 100000 gaps.
    EXPECT_NEAR(mean * 20, 1, 5 / std::sqrt(burstiness * 1e5)) << burstiness;
    EXPECT_NEAR(spread * burstiness, 1, 0.12) << burstiness;
  }
}

TEST(Arrivals, PoissonGapsAreExponential) {
  const auto gaps = gaps_of(arrival_times(100001, {1, 1}, 3));
  for (const double x : {0.1, 0.5, 1.0, 2.0, 4.0}) {
    const double share = double(std::ranges::count_if(gaps, [x](double g) { return g <= x; })) / double(gaps.size());
    EXPECT_NEAR(share, 1 - std::exp(-x), 0.01) << x;
  }
}

TEST(Arrivals, FixedAndAllAtOnce) {
  for (const double gap : gaps_of(arrival_times(100, {8, kInf}, 1))) EXPECT_NEAR(gap, 0.125, 1e-12);
  for (const double t : arrival_times(100, {}, 1)) EXPECT_EQ(t, 0);
  EXPECT_TRUE(arrival_times(0, {}, 1).empty());
}

TEST(Arrivals, SeedDecides) {
  EXPECT_EQ(arrival_times(50, {3, 1}, 11), arrival_times(50, {3, 1}, 11));
  EXPECT_NE(arrival_times(50, {3, 1}, 11), arrival_times(50, {3, 1}, 12));
  // More requests do not move the earlier ones.
  auto longer = arrival_times(80, {3, 1}, 11);
  longer.resize(50);
  EXPECT_EQ(arrival_times(50, {3, 1}, 11), longer);
}

TEST(Figures, Percentiles) {
  const std::vector<double> v{1, 2, 3, 4};
  EXPECT_EQ(percentile(v, 0), 1);
  EXPECT_EQ(percentile(v, 0.5), 2.5);
  EXPECT_NEAR(percentile(v, 0.9), 3.7, 1e-12);
  EXPECT_EQ(percentile(v, 1), 4);
  EXPECT_EQ(percentile({}, 0.5), 0);
  EXPECT_EQ(percentile({5}, 0.99), 5);
  std::vector<double> hundred(101);
  std::iota(hundred.begin(), hundred.end(), 0.0);
  std::ranges::reverse(hundred);
  const Distribution d = distribution(hundred);
  EXPECT_EQ(d.count, 101);
  EXPECT_EQ(d.mean, 50);
  EXPECT_EQ(d.median, 50);
  EXPECT_NEAR(d.p90, 90, 1e-9);
  EXPECT_NEAR(d.p99, 99, 1e-9);
  EXPECT_EQ(distribution({}).count, 0);
}

// From `start`: first output after `ttft`, then `tokens - 1` gaps.
RequestRecord record(double start, double ttft, double gap, int tokens) {
  RequestRecord r;
  r.arrival = r.start = start;
  r.first = start + ttft;
  r.gaps.assign(size_t(tokens - 1), float(gap));
  r.last = r.end = r.first + gap * (tokens - 1);
  r.input_tokens = 100;
  r.output_tokens = tokens;
  r.cached_tokens = 25;
  r.counted_by_server = true;
  return r;
}

TEST(Figures, ThroughputAndLatencies) {
  RequestRecord broken = record(0, 9, 9, 5);
  broken.error = "HTTP 503";
  broken.detail = "busy";
  const Summary s = summarise({record(0, 1, 0.5, 5), record(1, 2, 0.25, 9), broken}, 5, 2, {});
  EXPECT_EQ(s.completed, 2);
  EXPECT_EQ(s.failed, 1);
  EXPECT_EQ(s.unfinished, 2);
  EXPECT_EQ(s.errors.at("HTTP 503").count, 1);
  EXPECT_EQ(s.errors.at("HTTP 503").example, "busy");
  EXPECT_NEAR(s.errors.at("HTTP 503").latency.p99, 9 + 4 * 9, 1e-9);
  EXPECT_EQ(s.input_tokens, 200);
  EXPECT_EQ(s.cached_tokens, 50);
  EXPECT_EQ(s.output_tokens, 14);
  EXPECT_EQ(s.uncounted, 0);
  EXPECT_NEAR(s.requests_per_s, 0.4, 1e-12);
  EXPECT_NEAR(s.input_per_s, 40, 1e-12);
  EXPECT_NEAR(s.output_per_s, 2.8, 1e-12);
  EXPECT_NEAR(s.total_per_s, 42.8, 1e-12);
  EXPECT_NEAR(s.ttft.mean, 1.5, 1e-9);
  EXPECT_NEAR(s.tpot.mean, 0.375, 1e-9);
  EXPECT_EQ(s.itl.count, 12);  // of each gap, so that long answers weigh more than in TPOT
  EXPECT_NEAR(s.itl.mean, (4 * 0.5 + 8 * 0.25) / 12, 1e-9);
  EXPECT_NEAR(s.e2el.mean, (3.0 + 4.0) / 2, 1e-9);
  EXPECT_EQ(s.peak_concurrency, 3);
  EXPECT_FALSE(s.goodput);
}

TEST(Figures, Goodput) {
  RequestRecord broken = record(0, 0.1, 0.1, 2);
  broken.error = "timeout";
  const std::vector<RequestRecord> records{record(0, 1, 0.5, 5), record(0, 2, 0.25, 9), record(0, 1, 0, 1), broken};
  const auto good = [&](const Slo& slo) { return std::lround(*summarise(records, 1, 0, slo).goodput); };
  EXPECT_EQ(good({.ttft = 1.5}), 2);
  EXPECT_EQ(good({.tpot = 0.3}), 2);  // one token has no time per further token
  EXPECT_EQ(good({.e2el = 3.5}), 2);
  EXPECT_EQ(good({.ttft = 1.5, .tpot = 0.3}), 1);
  EXPECT_EQ(good({.ttft = 0.5}), 0);
  EXPECT_EQ(good({.ttft = 10, .tpot = 10, .e2el = 10}), 3);  // never the one that failed
}

TEST(Figures, InFlightAndTokensOverTime) {
  const std::vector<RequestRecord> records{record(0, 1, 1, 3), record(3, 1, 1, 2)};  // 0 to 3, then 3 to 5
  EXPECT_EQ(summarise(records, 5, 0, {}).peak_concurrency, 1);
  const std::vector<std::pair<double, double>> steps{{0, 1}, {3, 0}, {3, 1}, {5, 0}};
  EXPECT_EQ(in_flight(records), steps);
  const std::vector<std::pair<double, double>> rate{{1.25, 2 / 2.5}, {3.75, 3 / 2.5}};
  EXPECT_EQ(token_rate(records, 5, 2), rate);
  double sum = 0;
  for (const auto& [t, r] : token_rate(records, 5, 60)) sum += r * 5 / 60;
  EXPECT_NEAR(sum, 5, 1e-9);
}

TEST(Figures, Turns) {
  RequestRecord second = record(4, 3, 0.5, 5);
  second.turn = 1;
  second.cached_tokens = 90;
  const Summary s = summarise({record(0, 1, 0.5, 5), record(0, 2, 0.5, 5), second}, 8, 0, {});
  ASSERT_EQ(s.turns.size(), 2u);
  EXPECT_EQ(s.turns[0].requests, 2);
  EXPECT_NEAR(s.turns[0].ttft.median, 1.5, 1e-9);
  EXPECT_EQ(s.turns[1].requests, 1);
  EXPECT_EQ(s.turns[1].cached_tokens, 90);
  EXPECT_EQ(s.turns[0].recomputed_tokens, 0);
  EXPECT_EQ(s.turns[1].recomputed_tokens, 100 + 5 - 90);
  EXPECT_TRUE(summarise({record(0, 1, 0.5, 5)}, 8, 0, {}).turns.empty());
}

}  // namespace
}  // namespace sluice::bench
