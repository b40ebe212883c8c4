#include "core/cuda/status.h"

#include <gtest/gtest.h>

namespace sluice::cuda {
namespace {

// By the numbers of the runtime's documentation; needs no GPU.
TEST(CudaStatus, OnlyWhatStaysLosesTheDevice) {
  EXPECT_TRUE(to_status(cudaSuccess, "a call").ok());
  for (const int lost : {214, 220, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 810, 999})
    EXPECT_EQ(to_status(cudaError_t(lost), "a call").code(), Code::kDevice) << cudaGetErrorName(cudaError_t(lost));
  // Memory, and a launch that asks for more registers or memory than there is.
  for (const int scarce : {2, 701})
    EXPECT_EQ(to_status(cudaError_t(scarce), "a call").code(), Code::kResourceExhausted) << cudaGetErrorName(cudaError_t(scarce));
  // Invalid value, configuration, symbol, device function, no kernel image, PTX, handle; not permitted or supported; captures.
  for (const int refused : {1, 9, 13, 98, 101, 209, 218, 400, 720, 800, 801, 900, 901})
    EXPECT_EQ(to_status(cudaError_t(refused), "a call").code(), Code::kUnsupported) << cudaGetErrorName(cudaError_t(refused));
  EXPECT_EQ(to_status(cudaErrorIllegalAddress, "the GPU's stream").message(),
            "the GPU's stream: an illegal memory access was encountered");
}

}  // namespace
}  // namespace sluice::cuda
