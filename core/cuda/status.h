// CUDA's error codes as Status.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "base/status.h"

namespace sluice::cuda {

inline Status to_status(cudaError_t e, const char* what) {
  if (e == cudaSuccess) return {};
  const Code code = e == cudaErrorMemoryAllocation ? Code::kResourceExhausted : Code::kDevice;
  return Status(code, std::string(what) + ": " + cudaGetErrorString(e));
}

}  // namespace sluice::cuda
