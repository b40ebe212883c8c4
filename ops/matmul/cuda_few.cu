// Up to 16 rows of x, both operands bf16: all the cost is the way of w from memory.
//
// A block for each multiprocessor; its 16 warps are the segments of K. They go through units of 8 or 16 rows of w together, a stage
// after the other by way of a ring in shared memory, where each thread has places of its own and reads what it copied itself: no
// thread waits for another before the sums of a unit meet, and the copies are ahead by stages of the next units then. x is copied
// again for each unit, by way of the first-level cache, which holds it where it fits: a warp has the same part of it each time.
#include "ops/matmul/product.cuh"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = kSegments * kWarp;
constexpr int kMostStages = 2;  // on their way: more took memory from the first-level cache, and won nothing

// A thread's place in a matrix, of which it has rows lane / 4 + 8 i and every fourth run of 16 bytes; a stage at a time.
template <int kRows>
class Cursor {
 public:
  // `element`: the thread's first of its segment.
  __device__ Cursor(const void* matrix, int64_t pitch, int64_t rows, int64_t element, int64_t depth)
      : at_(static_cast<const Bf16*>(matrix) + element), pitch_(pitch), rows_(rows), elements_(depth - element) {}

  __device__ void go_to(int64_t row) { rows_left_ = rows_ - row, from_ = at_ + row * pitch_, left_ = elements_; }
  // Calls copy(i, from, in_rows, in_depth) for each run of the stage, and goes on to the next.
  template <class Copy>
  __device__ void stage(Copy&& copy) {
    const Bf16* from = from_;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int b = 0; b < 2; ++b) copy(2 * r + b, from + b * kBlock, 8 * r < rows_left_, b * kBlock < left_);
      from += 8 * pitch_;
    }
    from_ += kStage, left_ -= kStage;
  }

 private:
  const Bf16 *at_, *from_ = nullptr;
  int64_t pitch_, rows_, elements_, rows_left_ = 0, left_ = 0;
};

// kTiles: eights of rows of w in a unit; kHalves: eights of rows of x.
template <int kTiles, int kHalves>
struct Unit {
  static constexpr int kColumns = 8 * kTiles, kRows = 8 * kHalves;
  static constexpr int kRuns = 2 * (kTiles + kHalves);  // of 16 bytes that a thread has of a stage
  static constexpr size_t kStageBytes = size_t(kRuns) * kThreads * 16;
  static constexpr size_t kPartialBytes = sizeof(float[2][kSegments][kRows][kColumns]);
};

template <int kTiles, int kHalves>
__global__ void __launch_bounds__(kThreads, 1)
    few_rows_kernel(const __grid_constant__ Product p, const __grid_constant__ Segments s, int stages) {
  using U = Unit<kTiles, kHalves>;
  constexpr int kColumns = U::kColumns, kRows = U::kRows;
  __shared__ float partial[2][kSegments][kRows][kColumns];
  extern __shared__ uint4 few_rows_ring[];
  const int lane = int(threadIdx.x) % kWarp, segment = int(threadIdx.x) / kWarp, row = lane / 4;
  const int64_t element = int64_t(segment) * s.length * kBlock + lane % 4 * 8, step = int64_t(gridDim.x) * kColumns;
  const int unit_stages = s.length / 2;

  Cursor<kTiles> next_w(p.w, p.w_row, p.columns, element, p.depth);
  Cursor<kHalves> next_x(p.x, p.x_row, p.rows, element, p.depth);
  int64_t coming = int64_t(blockIdx.x) * kColumns;  // the unit whose weights are sent for next
  int w_done = 0, x_done = 0;                       // stages of that unit
  const auto run_of = [&](int slot, int i) { return few_rows_ring + (slot * U::kRuns + i) * kThreads + threadIdx.x; };
  const auto send_for_w = [&](int slot) {
    next_w.stage([&](int i, const Bf16* from, bool in_rows, bool in_depth) {
      ptx::cp_async_16(ptx::shared_address(run_of(slot, i)), from, in_rows && in_depth);
    });
    if (++w_done == unit_stages) w_done = 0, next_w.go_to((coming += step) + row);
  };
  const auto send_for_x = [&](int slot) {
    next_x.stage([&](int i, const Bf16* from, bool in_rows, bool in_depth) {
      if (in_rows) ptx::copy_async_16(ptx::shared_address(run_of(slot, 2 * kTiles + i)), from, in_depth);
    });
    if (++x_done == unit_stages) x_done = 0, next_x.go_to(row);
  };

  next_w.go_to(coming + row), next_x.go_to(row);
  for (int i = 0; i < stages; ++i)  // rows of x that are not there stay zeros
#pragma unroll
    for (int j = 0; j < 2 * kHalves; ++j) *run_of(i, 2 * kTiles + j) = uint4{};
  for (int i = 0; i < stages; ++i) send_for_w(i), ptx::cp_async_commit();
  wait_for_previous_kernel();
  for (int i = 0; i < stages; ++i) send_for_x(i), ptx::cp_async_commit();

  float sum[kTiles][4] = {};
  int slot = 0, turn = 0;
  for (int64_t column = int64_t(blockIdx.x) * kColumns; column < p.columns; column += step) {
    for (int stage = 0; stage < unit_stages; ++stage) {
      ptx::cp_async_wait(stages - 1);
#pragma unroll
      for (int b = 0; b < 2; ++b) {
        const uint4 x = *run_of(slot, 2 * kTiles + b), below = kHalves == 2 ? *run_of(slot, 2 * kTiles + 2 + b) : uint4{};
#pragma unroll
        for (int t = 0; t < kTiles; ++t) multiply_block(sum[t], x, below, *run_of(slot, 2 * t + b));
      }
      send_for_w(slot), send_for_x(slot);
      ptx::cp_async_commit();
      slot = slot + 1 == stages ? 0 : slot + 1;
    }
    // The segments' sums meet. Turns change places, so that one barrier is enough.
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int h = 0; h < kHalves; ++h) {
        *reinterpret_cast<float2*>(&partial[turn][segment][row + 8 * h][8 * t + lane % 4 * 2]) =
            make_float2(sum[t][2 * h], sum[t][2 * h + 1]);
      }
#pragma unroll
    for (int t = 0; t < kTiles; ++t) sum[t][0] = sum[t][1] = sum[t][2] = sum[t][3] = 0;
    __syncthreads();
    const int r = int(threadIdx.x) / kColumns, c = int(threadIdx.x) % kColumns;
    if (r < kRows && r < p.rows && column + c < p.columns) {
      float total = 0;
#pragma unroll 4
      for (int i = 0; i < s.count; ++i) total += partial[turn][i][r][c];
      p.put(r, column + c, total);
    }
    turn ^= 1;
  }
  ptx::cp_async_wait<0>();
}

template <int kTiles, int kHalves>
Status launch_few_rows(const Context& ctx, const MatmulArgs& a) {
  using U = Unit<kTiles, kHalves>;
  const int64_t units = ceil_div(a.w.shape[0], U::kColumns);
  const int64_t room = (int64_t(ctx.gpu->shared_memory) - int64_t(U::kPartialBytes)) / int64_t(U::kStageBytes);
  const int stages = int(std::clamp<int64_t>(room, 1, kMostStages));
  const LaunchShape shape{.grid = unsigned(std::min<int64_t>(units, ctx.gpu->sms)),
                          .block = kThreads,
                          .shared = size_t(stages) * U::kStageBytes,
                          .dependent = true};
  return launch(ctx, few_rows_kernel<kTiles, kHalves>, shape, Product(a), Segments(a.x.shape[1]), stages);
}

}  // namespace

// Units of 8 rows of w leave fewer multiprocessors idle at the end; those of 16 read x half as often, and their sums meet half as
// often, which is more than the rest where x is tall or K short.
Status matmul_few_rows(Context& ctx, const MatmulArgs& a, std::byte*) {
  constexpr int64_t kShortDepth = 2048;
  const auto rows_of_w_each = [&](int64_t unit) { return ceil_div(ceil_div(a.w.shape[0], unit), ctx.gpu->sms) * unit; };
  const int64_t by_16 = rows_of_w_each(16), by_8 = rows_of_w_each(8);
  if (a.x.shape[0] > 8) return by_16 * 3 <= by_8 * 4 ? launch_few_rows<2, 2>(ctx, a) : launch_few_rows<1, 2>(ctx, a);
  return by_16 <= by_8 && a.x.shape[1] <= kShortDepth ? launch_few_rows<2, 1>(ctx, a) : launch_few_rows<1, 1>(ctx, a);
}

}  // namespace sluice
