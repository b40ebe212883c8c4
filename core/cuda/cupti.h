// Records of a GPU's work by CUPTI, which is loaded when they are first asked for: a program runs without it.
#pragma once

#include "core/trace.h"

namespace sluice::cuda {

Status start_tracing();
void stop_tracing();
// What is complete, in order of beginning. kDevice where CUPTI lost records.
Result<std::vector<DeviceWork>> take_trace();

}  // namespace sluice::cuda
