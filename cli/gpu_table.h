// GPUs that a file describes, to see what Sluice would choose on another machine.
#pragma once

#include <string>

#include "base/status.h"
#include "core/gpu.h"

namespace sluice::cli {

// What `sluice doctor --json` printed there, or the same written by hand:
//
//   {"gpus": [{"name": "A100", "compute_capability": "8.0", "sms": 108, "memory_bytes": 80000000000, "shared_memory_bytes":
//   166912}]}
//
// Only the compute capability is required. The toolkit is that of this program.
Result<GpuList> read_gpu_table(const std::string& path);

}  // namespace sluice::cli
