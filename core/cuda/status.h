// CUDA's error codes as Status.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "base/status.h"

namespace sluice::cuda {

// Whether an error stays: every later call of this process fails with it, and only another process can use the device again (CUDA
// Runtime API, "CUDA Runtime API, Data types", cudaError). What nobody can say more of is taken for one.
inline bool loses_device(cudaError_t e) {
  switch (e) {
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorContextIsDestroyed:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorMpsClientTerminated:
    case cudaErrorUnknown:
      return true;
    default:
      return false;
  }
}

// kDevice: the device is lost. Others are of the call that failed, and the next one may succeed.
inline Status to_status(cudaError_t e, const char* what) {
  if (e == cudaSuccess) return {};
  const Code code = loses_device(e)                                                        ? Code::kDevice
                    : e == cudaErrorMemoryAllocation || e == cudaErrorLaunchOutOfResources ? Code::kResourceExhausted
                                                                                           : Code::kUnsupported;
  return Status(code, std::string(what) + ": " + cudaGetErrorString(e));
}

}  // namespace sluice::cuda
