// Tensor maps for the copy engine, made on the host.
#pragma once

#include <cuda.h>
#include <cudaTypedefs.h>
#include <cuda_runtime.h>

#include "core/cuda/status.h"

namespace sluice::cuda {

// The driver's encoder through the runtime, so that nothing links to libcuda.
inline PFN_cuTensorMapEncodeTiled_v12000 tensor_map_encoder() {
  static const auto encode = [] {
    void* f = nullptr;
    cudaDriverEntryPointQueryResult found{};
    if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &f, 12000, cudaEnableDefault, &found) != cudaSuccess ||
        found != cudaDriverEntryPointSuccess)
      f = nullptr;
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(f);
  }();
  return encode;
}

// Rows [T, H, D] of 16-bit elements, in boxes of `box_rows` rows of 64 elements of one head, 128-byte swizzle; strides in elements.
// What lies outside the tensor is read as zero and not written.
inline Status encode_rows(CUtensorMap* map, CUtensorMapDataType type, void* data, int64_t T, int64_t H, int64_t D, int64_t row_stride,
                          int64_t head_stride, uint32_t box_rows) {
  if (!tensor_map_encoder()) return {Code::kUnsupported, "this CUDA driver cannot make tensor maps", "install driver 525 or newer"};
  const cuuint64_t dims[3] = {cuuint64_t(D), cuuint64_t(H), cuuint64_t(T)};
  const cuuint64_t strides[2] = {cuuint64_t(head_stride) * 2, cuuint64_t(row_stride) * 2};
  const cuuint32_t box[3] = {64, 1, box_rows}, step[3] = {1, 1, 1};
  const CUresult r = tensor_map_encoder()(map, type, 3, data, dims, strides, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE,
                                          CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                          CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (r != CUDA_SUCCESS) return {Code::kDevice, "cuTensorMapEncodeTiled: error " + std::to_string(int(r))};
  return {};
}

}  // namespace sluice::cuda
