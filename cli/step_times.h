// Where the time of a step on a GPU goes: operator by operator, layer by layer, and between kernels.
#pragma once

#include <string>
#include <vector>

#include "core/trace.h"

namespace sluice::cli {

// The operator that a kernel belongs to, by its name; "copy" and "fill" of memory; else the kernel's own name.
std::string operator_of(const std::string& kernel);

struct OperatorTime {
  std::string op;
  int64_t launches = 0;
  double us = 0;
};

// Kernels overlap where one starts early: each counts from the end of those before it, so that all times and gaps add up to `us`.
struct StepTimes {
  double us = 0, gaps_us = 0;           // from the first kernel's beginning to the last one's end
  std::vector<OperatorTime> operators;  // longest first
  // Of layers with a gated delta rule, all together.
  int64_t gdn_layers = 0, gdn_layer_launches = 0, gdn_mixer_launches = 0;  // mixer: between the layer's two norms
  double gdn_layers_us = 0, gdn_layers_matmul_us = 0;

  int64_t launches() const;
  double of(const std::string& op) const;  // us
};

// Of one step's work, in order of beginning.
StepTimes step_times(const std::vector<DeviceWork>& work);

}  // namespace sluice::cli
