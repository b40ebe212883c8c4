// The benches on the CPU, by Google Benchmark.
#pragma once

#include <string>
#include <vector>

#include "base/environment.h"

namespace sluice::benching {

// Measures the cases of these operators (all if empty) in every implementation that this CPU runs, or in the one that is chosen for
// the operator. `format`: md, json or csv.
int run_on_cpu(const std::vector<std::string>& ops, const ImplChoices& choices, const std::string& format);

}  // namespace sluice::benching
