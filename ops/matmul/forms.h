// The implementations, one a file, and the blocking that the vector forms share.
#pragma once

#include "ops/matmul/matmul.h"

namespace sluice {

Status matmul_reference(Context&, const MatmulArgs&, std::byte*);
Status matmul_cpu(Context&, const MatmulArgs&, std::byte*);
Status matmul_avx2(Context&, const MatmulArgs&, std::byte*);
Status matmul_avx512(Context&, const MatmulArgs&, std::byte*);
Status matmul_avx512_bf16(Context&, const MatmulArgs&, std::byte*);
Status matmul_amx(Context&, const MatmulArgs&, std::byte*);
Status matmul_cuda(Context&, const MatmulArgs&, std::byte*);
Status matmul_mma(Context&, const MatmulArgs&, std::byte*);
Status matmul_wgmma(Context&, const MatmulArgs&, std::byte*);
Status matmul_few_rows(Context&, const MatmulArgs&, std::byte*);
Status matmul_cublaslt(Context&, const MatmulArgs&, std::byte*);

size_t matmul_cpu_workspace(const Context&, const MatmulArgs&);
size_t matmul_avx2_workspace(const Context&, const MatmulArgs&);
size_t matmul_avx512_workspace(const Context&, const MatmulArgs&);
size_t matmul_avx512_bf16_workspace(const Context&, const MatmulArgs&);
size_t matmul_amx_workspace(const Context&, const MatmulArgs&);
size_t matmul_cublaslt_workspace(const Context&, const MatmulArgs&);
Can matmul_cublaslt_can(const MatmulArgs&);

// Rows of x on a GPU: up to which the form for few serves, and up to which it beats cuBLASLt (README.md).
inline constexpr int64_t kMatmulMostFewRows = 16, kMatmulFirstFewRows = 8;

inline constexpr int kDotColumns = 4;   // rows of w in a tile of the dot-product form
inline constexpr int kDotChunk = 1024;  // elements of k that are summed on their own, and then added

// What the dot-product form (dot_body.h) is built from: a tile of `tile_rows` rows of x times kDotColumns rows of w.
struct DotShape {
  int tile_rows;
  int row_tiles;      // that use a tile of w together, from L1
  int step;           // elements of k in a vector
  int element_bytes;  // as they are multiplied: 4 when operands are widened
};

// How a call is cut into items, and what memory it needs. Nothing here changes a result, only its speed.
struct DotPlan {
  int64_t steps;           // over K, the last one padded with zeros
  int64_t chunks;          // of kDotChunk elements, at least one
  int64_t row_tiles;       // over M
  int64_t item_columns;    // rows of w in an item, a multiple of 4
  int64_t item_row_tiles;  // tiles of x in an item
  int64_t items_n, items_m;
  bool alone;                               // too little work to wake the team
  bool sums_in_y;                           // chunks are added up where their sum belongs
  size_t x_bytes, panel_bytes, sums_bytes;  // of scratch: x once; panel (0: w is used where it lies) and sums for each thread
};

DotPlan plan_dot(const MatmulArgs& a, const DotShape& shape, int threads);
size_t dot_workspace(const MatmulArgs& a, const DotShape& shape, int threads);

}  // namespace sluice
