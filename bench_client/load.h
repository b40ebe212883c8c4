// Sends a workload to a server at its arrival times and records what came back.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "bench_client/arrivals.h"
#include "bench_client/http_client.h"
#include "bench_client/record.h"
#include "bench_client/workload.h"

namespace sluice::bench {

struct LoadOptions {
  ClientOptions client;
  int64_t sessions = 100;       // requests; conversations where there are turns
  int64_t warmup = 0;           // requests before the first that counts
  int64_t max_concurrency = 0;  // sessions in flight; 0: no limit
  Arrivals arrivals;
  uint64_t seed = 0;
  int threads = 2;
  bool stop_on_interrupt = false;                         // SIGINT ends the run with what was measured so far
  std::function<void(int64_t done, int64_t total)> show;  // progress, from the calling thread
};

struct LoadResult {
  std::vector<RequestRecord> records;  // in the order in which they ended
  double seconds = 0;                  // from the first request's start to the last one's end
  int64_t unfinished = 0;              // on their way when the run was interrupted
  bool interrupted = false;
};

// An error only where nothing could be measured: a name that does not resolve, warm-up requests of which none succeeded.
Result<LoadResult> run_load(const LoadOptions& options, const Workload& workload);

// The first model that the server lists.
Result<std::string> first_model(const ClientOptions& client);

}  // namespace sluice::bench
