// Any call: products and sums of fp32, operands of either type at any address.
//
// A warp's lanes run along k, four neighbouring elements each. K is cut into at most eight segments; a lane's sums of its elements
// of a segment are added in order, and the lanes' totals by a tree. That order depends on K alone, and there are two ways to it:
// for few rows the warps of a block are the segments; for many a warp has all of K, for eight rows of x by four of w.
#include "ops/matmul/product.cuh"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kWarps = 8, kThreads = kWarps * kWarp;
constexpr int kQuad = 4, kTurn = kWarp * kQuad;                // elements of K of a lane at a time, and of a warp
constexpr int kColumns = 4;                                    // rows of w of a warp
constexpr int kFew = 4, kMostFew = 16;                         // rows of x: of a block of the first way; where it is taken
constexpr int kMany = 8, kDown = 2, kAcross = kWarps / kDown;  // the second way: rows of x of a warp, and how its block's warps lie

// Elements of K in a segment, a multiple of kTurn.
struct FmaSegments {
  int64_t length;
  int count;

  explicit FmaSegments(int64_t depth)
      : length(std::max<int64_t>(1, ceil_div(ceil_div(depth, kTurn), kWarps)) * kTurn), count(int(ceil_div(depth, length))) {}
};

template <class T>
struct Quad {
  static constexpr int kWords = kQuad * int(sizeof(T)) / 4;
  uint32_t word[kWords];

  // The first n elements at `from`, zeros behind them. wide: n is at most 0 or at least 4, and they are read at once.
  __device__ void read(const T* from, int64_t n, bool wide) {
#pragma unroll
    for (int i = 0; i < kWords; ++i) word[i] = 0;
    if (n <= 0) return;
    if (!wide) {
#pragma unroll
      for (int i = 0; i < kQuad; ++i)
        if (i < n) put(i, from[i]);
    } else if constexpr (kWords == 4) {
      const uint4 v = *reinterpret_cast<const uint4*>(from);
      word[0] = v.x, word[1] = v.y, word[2] = v.z, word[3] = v.w;
    } else {
      const uint2 v = *reinterpret_cast<const uint2*>(from);
      word[0] = v.x, word[1] = v.y;
    }
  }
  __device__ float operator[](int i) const {
    if constexpr (kWords == 4) return __uint_as_float(word[i]);
    else return __uint_as_float(i % 2 ? word[i / 2] & 0xffff0000u : word[i / 2] << 16);
  }

 private:
  __device__ void put(int i, T x) {
    if constexpr (kWords == 4) word[i] = __float_as_uint(x);
    else word[i / 2] |= uint32_t(x.bits) << (i % 2 * 16);
  }
};

// A lane's sums over [begin, end) of K for kRows rows of x by four of w. kTogether turns of w are on their way at once.
template <bool kWide, class X, class W, int kTogether, int kRows>
__device__ void accumulate(const Product& p, int64_t row, int64_t column, int64_t begin, int64_t end,
                           float (&sum)[kRows][kColumns]) {
  const int rows = int(min(p.rows - row, int64_t(kRows))), columns = int(min(p.columns - column, int64_t(kColumns)));
  const X* x = static_cast<const X*>(p.x) + row * p.x_row;
  const W* w = static_cast<const W*>(p.w) + column * p.w_row;
  for (int64_t k = begin + int(threadIdx.x) % kWarp * kQuad; k < end; k += kTogether * kTurn) {
    Quad<W> of_w[kTogether][kColumns];
#pragma unroll
    for (int j = 0; j < kTogether; ++j)
#pragma unroll
      for (int c = 0; c < kColumns; ++c)
        of_w[j][c].read(w + c * p.w_row + k + j * kTurn, c < columns ? end - k - j * kTurn : 0, kWide);
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      Quad<X> of_x[kRows];
#pragma unroll
      for (int r = 0; r < kRows; ++r) of_x[r].read(x + r * p.x_row + k + j * kTurn, r < rows ? end - k - j * kTurn : 0, kWide);
#pragma unroll
      for (int i = 0; i < kQuad; ++i)
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
          for (int c = 0; c < kColumns; ++c) sum[r][c] = fmaf(of_x[r][i], of_w[j][c][i], sum[r][c]);
    }
  }
}

template <bool kWide, class X, class W>
__global__ void __launch_bounds__(kThreads, 3)
    matmul_few_kernel(const __grid_constant__ Product p, const __grid_constant__ FmaSegments s) {
  constexpr int kOutputs = kFew * kColumns;
  __shared__ float partial[kWarps][kOutputs][kWarp];
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  const int64_t column = int64_t(blockIdx.x) * kColumns, row = int64_t(blockIdx.y) * kFew, begin = warp * s.length;
  wait_for_previous_kernel();
  float sum[kFew][kColumns] = {};
  accumulate<kWide, X, W, 2>(p, row, column, begin, min(begin + s.length, p.depth), sum);
#pragma unroll
  for (int o = 0; o < kOutputs; ++o) partial[warp][o][lane] = sum[o / kColumns][o % kColumns];
  __syncthreads();
  for (int o = warp; o < kOutputs; o += kWarps) {
    float total = 0;
    for (int i = 0; i < s.count; ++i) total += partial[i][o][lane];
    total = group_sum(total);
    const int64_t r = row + o / kColumns, c = column + o % kColumns;
    if (lane == 0 && r < p.rows && c < p.columns) p.put(r, c, total);
  }
}

template <bool kWide, class X, class W>
__global__ void __launch_bounds__(kThreads)
    matmul_many_kernel(const __grid_constant__ Product p, const __grid_constant__ FmaSegments s) {
  static_assert(kMany * kColumns == kWarp, "a lane has an output");
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  const int64_t row = (int64_t(blockIdx.y) * kDown + warp % kDown) * kMany;
  const int64_t column = (int64_t(blockIdx.x) * kAcross + warp / kDown) * kColumns;
  wait_for_previous_kernel();
  float total[kMany][kColumns] = {};
  for (int64_t begin = 0; begin < p.depth; begin += s.length) {
    float sum[kMany][kColumns] = {};
    accumulate<kWide, X, W, 1>(p, row, column, begin, min(begin + s.length, p.depth), sum);
#pragma unroll
    for (int o = 0; o < kWarp; ++o) total[o / kColumns][o % kColumns] += sum[o / kColumns][o % kColumns];
  }
  float mine = 0;
#pragma unroll
  for (int o = 0; o < kWarp; ++o) {
    const float t = group_sum(total[o / kColumns][o % kColumns]);
    if (lane == o) mine = t;
  }
  if (const int64_t r = row + lane / kColumns, c = column + lane % kColumns; r < p.rows && c < p.columns) p.put(r, c, mine);
}

template <bool kWide, class X, class W>
Status launch_fma(const Context& ctx, const MatmulArgs& a) {
  const int64_t rows = a.x.shape[0], columns = a.w.shape[0];
  const bool few = rows <= kMostFew;
  const int64_t down = few ? kFew : kDown * kMany, across = few ? kColumns : kAcross * kColumns;
  const LaunchShape shape{
      .grid = dim3(unsigned(ceil_div(columns, across)), unsigned(ceil_div(rows, down))), .block = kThreads, .dependent = true};
  return launch(ctx, few ? matmul_few_kernel<kWide, X, W> : matmul_many_kernel<kWide, X, W>, shape, Product(a),
                FmaSegments(a.x.shape[1]));
}

}  // namespace

Status matmul_cuda(Context& ctx, const MatmulArgs& a, std::byte*) {
  const bool wide = a.x.shape[1] % kQuad == 0 && wide_runs(a.x) && wide_runs(a.w);
  return visit_float(a.x, [&]<class X>(X*) {
    return visit_float(a.w, [&]<class W>(W*) { return wide ? launch_fma<true, X, W>(ctx, a) : launch_fma<false, X, W>(ctx, a); });
  });
}

}  // namespace sluice
