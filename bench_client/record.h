// What is known of one request when it is over.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sluice::bench {

struct RequestRecord {
  int64_t session = 0, turn = 0;
  double arrival = 0;          // when it was due; all times in seconds from the start of the run
  double start = 0;            // when the client began to send it
  double first = 0, last = 0;  // first and last output
  double end = 0;              // the whole answer is there, or the error
  std::vector<float> gaps;     // between outputs that came one after another
  int64_t input_tokens = 0, output_tokens = 0, cached_tokens = 0;
  bool counted_by_server = false;  // the numbers of tokens are the server's own
  std::string error, detail;       // kind, and what was said; empty: success

  bool ok() const { return error.empty(); }
  double ttft() const { return first - start; }
  double latency() const { return end - start; }
  bool has_tpot() const { return output_tokens > 1; }
  // Time per output token after the first.
  double tpot() const { return (last - first) / double(output_tokens - 1); }
};

}  // namespace sluice::bench
