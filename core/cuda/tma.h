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

// Rows [T, H, D] of 16-bit elements in boxes of `rows` rows of `columns` elements of one head, swizzled over `columns` * 2 bytes
// (32, 64 or 128); strides in elements. What lies outside the tensor is read as zero and not written.
struct RowBoxes {
  CUtensorMapDataType type;
  void* data;
  int64_t T, H, D, row_stride, head_stride;
  uint32_t rows, columns;
};

inline Status encode_rows(CUtensorMap* map, const RowBoxes& r) {
  if (!tensor_map_encoder()) return {Code::kUnsupported, "this CUDA driver cannot make tensor maps", "install driver 525 or newer"};
  const cuuint64_t dims[3] = {cuuint64_t(r.D), cuuint64_t(r.H), cuuint64_t(r.T)};
  const cuuint64_t strides[2] = {cuuint64_t(r.head_stride) * 2, cuuint64_t(r.row_stride) * 2};
  const cuuint32_t box[3] = {r.columns, 1, r.rows}, step[3] = {1, 1, 1};
  const auto swizzle = r.columns == 64   ? CU_TENSOR_MAP_SWIZZLE_128B
                       : r.columns == 32 ? CU_TENSOR_MAP_SWIZZLE_64B
                                         : CU_TENSOR_MAP_SWIZZLE_32B;
  const CUresult e = tensor_map_encoder()(map, r.type, 3, r.data, dims, strides, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
                                          CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (e != CUDA_SUCCESS) return {Code::kUnsupported, "cuTensorMapEncodeTiled: error " + std::to_string(int(e))};
  return {};
}

// Pages [pages, page, H, D] of 16-bit elements in boxes of `rows` rows of 64 elements of one head, swizzled over their 128 bytes;
// strides in elements. Coordinates: element, head, row, page.
struct PageBoxes {
  CUtensorMapDataType type;
  void* data;
  int64_t pages, page, H, D, page_stride, row_stride, head_stride;
  uint32_t rows;
};

inline Status encode_pages(CUtensorMap* map, const PageBoxes& p) {
  if (!tensor_map_encoder()) return {Code::kUnsupported, "this CUDA driver cannot make tensor maps", "install driver 525 or newer"};
  const cuuint64_t dims[4] = {cuuint64_t(p.D), cuuint64_t(p.H), cuuint64_t(p.page), cuuint64_t(p.pages)};
  const cuuint64_t strides[3] = {cuuint64_t(p.head_stride) * 2, cuuint64_t(p.row_stride) * 2, cuuint64_t(p.page_stride) * 2};
  const cuuint32_t box[4] = {64, 1, p.rows, 1}, step[4] = {1, 1, 1, 1};
  const CUresult e =
      tensor_map_encoder()(map, p.type, 4, p.data, dims, strides, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE,
                           CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (e != CUDA_SUCCESS) return {Code::kUnsupported, "cuTensorMapEncodeTiled: error " + std::to_string(int(e))};
  return {};
}

// Matrices [count, rows, columns], `pitch` elements from one to the next, in bands of `band` whole rows. In shared memory a band is
// a run of boxes, each 128 bytes of all its rows and swizzled over them. Coordinates: 0, row, 0, matrix.
struct MatrixBands {
  CUtensorMapDataType type;
  uint32_t element_bytes;
  void* data;
  int64_t count, rows, columns, pitch;
  uint32_t band;
  int64_t row_pitch = 0;  // elements from row to row; 0: columns
};

inline Status encode_bands(CUtensorMap* map, const MatrixBands& m) {
  if (!tensor_map_encoder()) return {Code::kUnsupported, "this CUDA driver cannot make tensor maps", "install driver 525 or newer"};
  constexpr uint32_t kBoxRow = 128;  // bytes
  const uint32_t width = kBoxRow / m.element_bytes, boxes = uint32_t(m.columns) / width;
  const cuuint64_t dims[4] = {width, cuuint64_t(m.rows), boxes, cuuint64_t(m.count)};
  const cuuint64_t strides[3] = {cuuint64_t(m.row_pitch ? m.row_pitch : m.columns) * m.element_bytes, kBoxRow,
                                 cuuint64_t(m.pitch) * m.element_bytes};
  const cuuint32_t box[4] = {width, m.band, boxes, 1}, step[4] = {1, 1, 1, 1};
  const CUresult e =
      tensor_map_encoder()(map, m.type, 4, m.data, dims, strides, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE,
                           CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (e != CUDA_SUCCESS) return {Code::kUnsupported, "cuTensorMapEncodeTiled: error " + std::to_string(int(e))};
  return {};
}

}  // namespace sluice::cuda
