// The benches on a GPU: each form is checked on the case first, then timed from CUDA-graph replays over rotating, cold inputs.
#pragma once

#include <string>
#include <vector>

#include "core/backend.h"

namespace sluice::benching {

struct BenchOptions {
  std::vector<std::string> ops;  // empty: all
  std::string label, impl;       // only cases whose label contains this; only this form
  BackendFlags backend;
  std::string peers, format = "md", plot, save;
};

// Prints the table. False where a form failed its check or could not be measured.
Result<bool> run_on_gpu(int index, const BenchOptions& o);

}  // namespace sluice::benching
