// The part of `sluice doctor` that is about the CPU and its memory, and what speed of decode that allows.
#pragma once

#include <boost/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/machine.h"
#include "core/bandwidth.h"

namespace sluice::cli {

// What a model reads to write one token of one sequence.
struct TokenCost {
  std::string model;
  int64_t weights = 0, state = 0;  // bytes
  int64_t bytes() const { return weights + state; }
};

struct MachineReport {
  Machine machine;
  std::vector<Bandwidth> bandwidth;  // with one thread and with all; empty: not measured
  std::optional<TokenCost> cost;
};

// Of the folder of a checkpoint.
Result<TokenCost> token_cost(const std::string& dir);

// measure: for about half a second, with one thread and with `threads`.
Result<MachineReport> examine_machine(bool measure, int threads);

// Lines "what       value".
std::string describe(const MachineReport& report);
boost::json::object to_json(const MachineReport& report);

}  // namespace sluice::cli
