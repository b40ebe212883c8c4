// From the requests' records to the figures of a report.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bench_client/record.h"

namespace sluice::bench {

// The value below which a share of p (0 to 1) of the sorted values lies, linear between neighbours; 0 of nothing.
double percentile(const std::vector<double>& sorted, double p);

struct Distribution {
  int64_t count = 0;
  double mean = 0, median = 0, p90 = 0, p99 = 0;
};
Distribution distribution(std::vector<double> values);

// Limits that a request must keep to count as good, in seconds.
struct Slo {
  std::optional<double> ttft, tpot, e2el;
  bool any() const { return ttft || tpot || e2el; }
  bool met_by(const RequestRecord& r) const;
};

struct ErrorCount {
  int64_t count = 0;
  std::string example;
  Distribution latency;  // until the client knew
};

// One turn of all conversations.
struct TurnSummary {
  int64_t turn = 0, requests = 0;
  double input_tokens = 0, cached_tokens = 0, output_tokens = 0;  // means
  double recomputed_tokens = 0;  // mean of what was said up to the turn before and did not come from the cache
  Distribution ttft, tpot;
};

struct Summary {
  int64_t completed = 0, failed = 0, unfinished = 0, peak_concurrency = 0;
  double seconds = 0;
  int64_t input_tokens = 0, output_tokens = 0, cached_tokens = 0;  // of the completed
  int64_t uncounted = 0;                                           // completed requests whose tokens the server did not count
  double requests_per_s = 0, input_per_s = 0, output_per_s = 0, total_per_s = 0;
  std::optional<double> goodput;              // requests a second within the limits
  Distribution ttft, tpot, itl, e2el, delay;  // delay: from when a request was due to when it was sent
  std::map<std::string, ErrorCount> errors;
  std::vector<TurnSummary> turns;  // where there is more than one
};

Summary summarise(const std::vector<RequestRecord>& records, double seconds, int64_t unfinished, const Slo& slo);

// Requests in flight: (time, number from then on).
std::vector<std::pair<double, double>> in_flight(const std::vector<RequestRecord>& records);
// Output tokens a second in `bins` equal stretches of the run: (middle of the stretch, rate).
std::vector<std::pair<double, double>> token_rate(const std::vector<RequestRecord>& records, double seconds, int bins);

}  // namespace sluice::bench
