// How the figures of `sluice bench serve` are shown: tables, JSON, CSV, a picture.
#pragma once

#include <string>

#include "bench_client/load.h"
#include "bench_client/summary.h"

namespace sluice::cli {

// What was run, as it stands above the figures.
struct ServeRun {
  std::string url, model, workload, arrivals;
  int64_t max_concurrency = 0;
  uint64_t seed = 0;
  bench::LoadResult load;
  bench::Summary summary;
};

// `format` is md, json or csv.
std::string report(const ServeRun& run, const std::string& format);
// The JSON report with every request in it.
Status save_requests(const ServeRun& run, const std::string& path);
Status plot(const ServeRun& run, const std::string& path);

}  // namespace sluice::cli
