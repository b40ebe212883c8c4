// The benches on a GPU: each form is checked on the case first, then timed from CUDA-graph replays over rotating, cold inputs.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "core/backend.h"

namespace sluice::benching {

struct BenchOptions {
  std::vector<std::string> ops;     // empty: all
  std::vector<std::string> labels;  // only cases whose label contains one of these
  std::string impl;                 // only this form
  BackendFlags backend;
  std::string peers, format = "md", plot, save;
  bool launches = false;  // also plain launches and warm inputs

  bool wants(const std::string& op, const std::string& case_label) const {
    const auto named = [&](const std::string& text) { return case_label.find(text) != std::string::npos; };
    return (ops.empty() || std::ranges::find(ops, op) != ops.end()) && (labels.empty() || std::ranges::any_of(labels, named));
  }
};

// Prints the table. False where a form failed its check or could not be measured.
Result<bool> run_on_gpu(int index, const BenchOptions& o);

// Times every tile of the forms that have several, and prints the SLUICE_TILE that was fastest over all cases.
Status tune_on_gpu(int index, const BenchOptions& o);

}  // namespace sluice::benching
