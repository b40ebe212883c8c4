// An e4m3 w in blocks, up to 8 tokens, where the copy engine is. As in few_rows.cuh a pair of blocks, a cluster, shares K, each
// warp has stages of 128 bytes of its block's rows of w, and nobody waits for another warp until the sums meet; the order of a sum
// is the same too, and so are its bits. Different are:
//
// - A block takes half of a multiprocessor's shared memory, nearly all of it for its rows of w: two calls' blocks are side by side,
//   and while one multiplies, what the next one has of w comes from memory.
// - A warp of its own sends for w, no more at a time than keeps the memory busy: a longer queue would be in the way of the x that
// the
//   block beside it waits for.
// - x goes from the second-level cache to registers: a warp is the only one of its block that wants its part of x.
#include "core/cuda/tma.h"
#include "ops/fused_a_gemm/few_rows.cuh"
#include "ops/fused_a_gemm/forms.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kBlocks = 2, kSharers = kBlocks * kFewWarps;  // of K
constexpr int kThreads = kFewThreads + kWarp;               // the last warp is the copies'
constexpr int kOnTheirWay = 44 << 10;                       // bytes of w that a block sends for at a time
constexpr int kTokens = 8;                                  // columns of an instruction
constexpr int kAhead = 2;                                   // stages whose x is sent for at once

template <int kGroups>
struct Sizes {
  static constexpr int kRows = 8 * kGroups, kTiles = (kGroups + 1) / 2, kShare = kRows / kBlocks;
  static constexpr int kSlotBytes = kRows * kStageBytes;
  static constexpr int kPitch = kTokens + 8;  // floats from row to row of a warp's sums
  static constexpr int kMessageBytes = kShare * kTokens * int(sizeof(float)), kBarBytes = int(sizeof(uint64_t));
  static_assert(kPitch * int(sizeof(float)) <= kStageBytes, "the sums of a warp fit a slot");

  static int64_t shared_bytes(int64_t slots) { return slots * (kSlotBytes + 2 * kBarBytes) + kMessageBytes + kBarBytes; }
};

// The row of w, of eight, that is row `row` of the eight of an instruction: neighbours there are four rows apart, whose runs the
// copy engine puts into different banks.
__device__ constexpr int row_of_w(int row) { return row / 2 + row % 2 * 4; }

// Shared memory of a block. `met` is where the sums of the cluster's other block arrive; of each slot, `arrived` is for the
// weights' arrival and `read` for their having been read.
template <class S>
struct Memory {
  char* slots;
  float* messages;
  uint64_t *met, *arrived, *read;

  __device__ Memory(char* at, int count)
      : slots(at),
        messages(reinterpret_cast<float*>(at + count * S::kSlotBytes)),
        met(reinterpret_cast<uint64_t*>(at + count * S::kSlotBytes + S::kMessageBytes)),
        arrived(met + 1),
        read(arrived + count) {}
};

// Stage s of a block: warp s % kFewWarps has it. The stages of K go to the warps of one block, then to those of the other.
__device__ inline int stage_of_depth(int s, int rank) { return s / kFewWarps * kSharers + rank * kFewWarps + s % kFewWarps; }

// A place in the ring of slots, and the parity of the turn.
struct Slot {
  int index;
  uint32_t parity = 0;

  __device__ void advance(int by, int slots) {
    if ((index += by) >= slots) index -= slots, parity ^= 1;
  }
};

// What one thread does: sends for stages of w in order.
template <class S>
class Copies {
 public:
  static constexpr int kQueue = kOnTheirWay / S::kSlotBytes;  // stages; fewer than a ring that goes round has

  __device__ Copies(const FewRows& p, const CUtensorMap& map, const Memory<S>& memory, int first_row, int rank)
      : p_(p), map_(map), memory_(memory), first_row_(first_row), rank_(rank) {}

  __device__ void begin() {
    for (int i = 0; i < p_.slots; ++i) ptx::mbarrier_init(memory_.arrived + i, 1), ptx::mbarrier_init(memory_.read + i, 1);
    ptx::fence_barrier_init();
    for (int s = 0; s < min(kQueue, p_.slots); ++s) send_next();
  }
  __device__ void go_on() {
    Slot behind{0};
    while (stage_of_depth(next_, rank_) < p_.stages) {
      if (next_ >= kQueue) ptx::mbarrier_wait(memory_.arrived + behind.index, behind.parity), behind.advance(1, p_.slots);
      if (next_ >= p_.slots) ptx::mbarrier_wait(memory_.read + slot_.index, slot_.parity ^ 1);
      send_next();
    }
  }

 private:
  __device__ void send_next() {
    const int depth = stage_of_depth(next_++, rank_);
    if (depth >= p_.stages) return;
    uint64_t* bar = memory_.arrived + slot_.index;
    ptx::mbarrier_arrive_expect(bar, S::kSlotBytes);
    ptx::tma_load_3d(memory_.slots + slot_.index * S::kSlotBytes, &map_, depth * (kStageBytes / 2), 0, first_row_, bar);
    slot_.advance(1, p_.slots);
  }

  const FewRows& p_;
  const CUtensorMap& map_;
  const Memory<S>& memory_;
  int first_row_, rank_, next_ = 0;
  Slot slot_{0};
};

// x of a stage and of token lane / 4 in a lane's registers: what goes with its two runs of 16 bytes of a row of w.
struct StageOfToken {
  uint4 run[2][2] = {};

  __device__ void read(const char* x) {
#pragma unroll
    for (int i = 0; i < 4; ++i) run[i / 2][i % 2] = *reinterpret_cast<const uint4*>(x + i / 2 * kStageBytes + i % 2 * 16);
  }
};

// What a warp computes; a fragment is of 16 rows of w by 8 tokens.
template <class S>
class Products {
  static constexpr int kGroups = S::kRows / 8;

 public:
  __device__ Products(const FewRows& p, const Memory<S>& memory, int64_t first_row, int rank)
      : p_(p),
        memory_(memory),
        first_row_(first_row),
        border_(int(first_row / 128 * 128 + 128 - first_row)),
        warp_(int(threadIdx.x) / kWarp),
        lane_(int(threadIdx.x) % kWarp),
        first_(stage_of_depth(warp_, rank)),
        count_(p.stages > first_ ? (p.stages - first_ + kSharers - 1) / kSharers : 0) {
    read_scales(0);
  }

  __device__ void multiply() {
    const char* x = p_.x + lane_ / 4 * p_.x_row + int64_t(first_) * (2 * kStageBytes) + lane_ % 4 * 32;
    const auto read_x = [&](int i, StageOfToken& to) {
      if (i < count_ && lane_ / 4 < p_.tokens) to.read(x + int64_t(i) * (kSharers * 2 * kStageBytes));
    };
    StageOfToken of_x[kAhead];
#pragma unroll
    for (int a = 0; a < kAhead; ++a) read_x(a, of_x[a]);
    Slot slot{warp_};
    for (int begin = 0; begin < count_; begin += kAhead)
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        const int i = begin + a;
        if (i >= count_) break;
        if (i > 0 && i % kWarp == 0) read_scales(i);
        ptx::mbarrier_wait(memory_.arrived + slot.index, slot.parity);
        add(memory_.slots + slot.index * S::kSlotBytes, of_x[a], __shfl_sync(0xffffffffu, low_, i % kWarp),
            __shfl_sync(0xffffffffu, high_, i % kWarp));
        __syncwarp();
        if (lane_ == 0) ptx::mbarrier_arrive(memory_.read + slot.index);
        slot.advance(kFewWarps, p_.slots);
        read_x(i + kAhead, of_x[a]);
      }
  }

  // Where the slots were; rows are those of the instructions.
  __device__ void store() const {
    float* to = reinterpret_cast<float*>(memory_.slots) + (warp_ * S::kRows + lane_ / 4) * S::kPitch + lane_ % 4 * 2;
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      const float* from = sum_[g / 2] + g % 2 * 2;
      *reinterpret_cast<float2*>(to + g * 8 * S::kPitch) = make_float2(from[0], from[1]);
    }
  }

 private:
  // A stage is a block of the scales, and this block's rows are of one or two. A lane has those of the warp's stage `from` + lane.
  __device__ void read_scales(int from) {
    if (from + lane_ >= count_) return;
    const float* s = p_.scale + first_ + (from + lane_) * kSharers;
    low_ = s[first_row_ / 128 * p_.scale_row];
    high_ = s[min(first_row_ + S::kRows - 1, p_.rows - 1) / 128 * p_.scale_row];
  }

  __device__ void add(const char* w, const StageOfToken& x, float low, float high) {
    const int row = row_of_w(lane_ / 4);
    w += row * kStageBytes;
#pragma unroll
    for (int tile = 0; tile < S::kTiles; ++tile) {
      float part[4] = {};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const char* from = w + tile * kTileRows * kStageBytes + ((4 * half + lane_ % 4) ^ row) * 16;
        const uint4 upper = *reinterpret_cast<const uint4*>(from);
        const uint4 lower = 2 * tile + 1 < kGroups ? *reinterpret_cast<const uint4*>(from + 8 * kStageBytes) : uint4{};
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          uint32_t a[4];
          weights_of<F8E4M3>(upper, lower, j, 0, a);
          const uint4& b = x.run[half][j / 2];
          ptx::mma_m16n8k16_bf16(part, a, j % 2 ? b.z : b.x, j % 2 ? b.w : b.y);
        }
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float scale = 8 * (2 * tile + i / 2) < border_ ? low : high;
        sum_[tile][i] = fmaf(part[i], scale, sum_[tile][i]);
      }
    }
  }

  const FewRows& p_;
  const Memory<S>& memory_;
  int64_t first_row_;
  int border_;  // of scales, in rows
  int warp_, lane_, first_, count_;
  float low_ = 0, high_ = 0;
  float sum_[S::kTiles][4] = {};
};

__device__ inline int pairs_of_tokens(const FewRows& p) { return int(p.tokens + 1) / 2; }

// How the sums meet: of rows that are the other block's a block sends the sum of its warps there, to those that are its own it adds
// what arrives.
template <class S>
__device__ void meet(const FewRows& p, const Memory<S>& memory, int64_t first_row, int rank) {
  const float* partial = reinterpret_cast<const float*>(memory.slots);
  const int items = pairs_of_tokens(p) * S::kShare, other = 1 - rank;  // pairs of tokens by rows
  const auto of_warps = [&](int row, int token) {
    const float* from = partial + row * S::kPitch + token;
    float2 total = *reinterpret_cast<const float2*>(from);
#pragma unroll
    for (int w = 1; w < kFewWarps; ++w) {
      const float2 more = *reinterpret_cast<const float2*>(from + w * S::kRows * S::kPitch);
      total.x += more.x, total.y += more.y;
    }
    return total;
  };
  const auto put = [&](int token, int64_t row, float x) {
    if (token >= p.tokens || row >= p.rows) return;
    const int64_t at = token * p.y_row + row;
    if (p.y_is_bf16) reinterpret_cast<Bf16*>(p.y)[at] = from_float<Bf16>(x);
    else reinterpret_cast<float*>(p.y)[at] = x;
  };
  for (int i = int(threadIdx.x); i < items; i += kFewThreads) {
    const int row = i % S::kShare, token = i / S::kShare * 2;
    const float2 total = of_warps(other * S::kShare + row, token);
    ptx::send_in_cluster(memory.messages + row * kTokens + token, uint32_t(other), total.x, total.y, memory.met);
  }
  for (int i = kFewThreads - 1 - int(threadIdx.x); i < items; i += kFewThreads) {  // mostly by threads that sent nothing
    const int row = i % S::kShare, token = i / S::kShare * 2, fragment_row = rank * S::kShare + row;
    const float2 mine = of_warps(fragment_row, token);
    ptx::mbarrier_wait(memory.met, 0);
    const float2 theirs = *reinterpret_cast<const float2*>(memory.messages + row * kTokens + token);
    const int64_t to = first_row + fragment_row / 8 * 8 + row_of_w(fragment_row % 8);
    put(token, to, mine.x + theirs.x), put(token + 1, to, mine.y + theirs.y);
  }
}

template <int kGroups>
__global__ void __launch_bounds__(kThreads, 2)
    copied_rows_kernel(const __grid_constant__ FewRows p, const __grid_constant__ CUtensorMap map) {
  using S = Sizes<kGroups>;
  extern __shared__ __align__(1024) char copied_rows_memory[];
  const int rank = int(blockIdx.x) % kBlocks;
  const int64_t first_row = int64_t(int(blockIdx.x) / kBlocks) * S::kRows;
  const bool copies_here = threadIdx.x == kFewThreads, products_here = threadIdx.x < kFewThreads;
  const Memory<S> memory(copied_rows_memory, p.slots);
  Copies<S> copies(p, map, memory, int(first_row), rank);
  if (copies_here) {
    ptx::mbarrier_init(memory.met, 1);
    copies.begin();
    ptx::mbarrier_arrive_expect(memory.met, uint32_t(pairs_of_tokens(p) * S::kShare * sizeof(float2)));
  }
  __syncthreads();
  ptx::cluster_arrive_relaxed();
  ptx::cluster_wait();  // the other block may be sent to
  if (products_here) {
    Products<S> products(p, memory, first_row, rank);
    wait_for_previous_kernel();
    products.multiply();
    ptx::named_barrier(1, kFewThreads);  // the slots are done
    products.store();
    ptx::named_barrier(1, kFewThreads);
    meet(p, memory, first_row, rank);
  } else if (copies_here) {
    copies.go_on();
  }
}

template <int kGroups>
Status launch_copied_rows(const Context& ctx, FewRows p) {
  if (p.rows == 0) return {};
  using S = Sizes<kGroups>;
  CUtensorMap map;
  SLUICE_RETURN_IF_ERROR(encode_rows(&map, {.type = CU_TENSOR_MAP_DATA_TYPE_UINT16,  // two weights
                                            .data = const_cast<char*>(p.w),
                                            .T = p.rows,
                                            .H = 1,
                                            .D = int64_t(p.stages) * (kStageBytes / 2),
                                            .row_stride = p.w_row / 2,
                                            .head_stride = p.w_row / 2,
                                            .rows = S::kRows,
                                            .columns = kStageBytes / 2}));
  constexpr int64_t kOfSystem = 1024;  // bytes of a multiprocessor's shared memory that each block takes besides
  const int64_t half = (int64_t(ctx.gpu->shared_memory) - kOfSystem) / 2;
  const int64_t room = (half - S::shared_bytes(0)) / (S::shared_bytes(1) - S::shared_bytes(0));
  p.slots = int(std::clamp<int64_t>((p.stages + kBlocks - 1) / kBlocks, kFewWarps, room));
  return launch(ctx, copied_rows_kernel<kGroups>,
                {.grid = unsigned((p.rows + S::kRows - 1) / S::kRows * kBlocks),
                 .block = kThreads,
                 .shared = size_t(S::shared_bytes(p.slots)),
                 .cluster = kBlocks,
                 .dependent = true},
                p, map);
}

}  // namespace

// x of more tokens would want the registers that the copies' warp has: the other form is faster then, and has the same bits.
Status fused_a_gemm_tma(Context& ctx, const FusedAGemmArgs& a, std::byte* scratch) {
  if (a.x.shape[0] > kTokens) return fused_a_gemm_cuda(ctx, a, scratch);
  return in_waves<F8E4M3>(ctx, a.x, a.w, a.w_scale, a.y, kBlocks,
                          [&](const FewRows& p, auto groups) { return launch_copied_rows<groups()>(ctx, p); });
}

}  // namespace sluice
