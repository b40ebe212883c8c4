// y[T, N] = x[T, K] w[N, K]^T for few tokens, where all the cost is the weights' way from memory.
//
// A block of eight warps has up to 40 rows of w, a multiple of 8, for 16 tokens. K is cut into stages of 128 bytes of a row of w;
// the warps take stages in turn, each through a ring of its own in shared memory, filled by its own copies: no thread waits for
// another warp until the sums meet. A cluster of kSplit blocks shares K in the same way, so that the tokens' rows are read by as
// many blocks fewer, and so that rows of w are cut finer (2624 rows over 66 pairs of blocks: 40 each, one wave on 132
// multiprocessors). Copies of w begin before the kernel before this one has ended; only x and y wait for it.
//
// A thread takes 16 neighbouring bytes of a row at once. Matrix instructions want others, but the order of k within an instruction
// is free as long as both operands have the same: x is read to match, and neither needs another layout.
//
// The order of a sum: the stages of a warp, the warps of a block, the blocks of a cluster. It depends on K, W and kSplit only.
#pragma once

#include <algorithm>
#include <type_traits>

#include "core/cuda/launch.h"
#include "core/cuda/ptx.h"
#include "core/cuda/rows.cuh"

namespace sluice::cuda {

inline constexpr int kFewWarps = 8, kFewThreads = kFewWarps * kWarp;
inline constexpr int kFewTokens = 16;                 // of a block
inline constexpr int kStageBytes = 128;               // of a row of w: a cache line
inline constexpr int kMostTiles = 5;                  // of 8 rows of w, in a block
inline constexpr int kMostSlots = 8;                  // of a warp's ring
inline constexpr int64_t kMostRingBytes = 200 << 10;  // leaves room beside it for blocks of the kernel before

// A call; strides of x and w in bytes, the others in elements.
struct FewRows {
  const char *x, *w;
  const float* scale;  // [N / 128, K / 128], or null
  char* y;
  int64_t x_row, w_row, scale_row, y_row;
  int64_t tokens, rows, stages;  // rows and stages of w
  int slots;
  bool y_is_bf16;
};

// Blocks that share K. There are clusters in code compiled for sm_90 and later: clusters_of() asks which code this GPU runs.
template <int kSplit>
__device__ constexpr int blocks_of_cluster() {
#if __CUDA_ARCH__ >= 900
  return kSplit;
#else
  return 1;
#endif
}

// What 16 bytes of w are: a thread's share of a stage is two of these of every eight rows. A quad is what a matrix instruction
// takes of them, four elements.
template <class W>
struct WeightRun {
  static constexpr int kElements = 16 / int(sizeof(W)), kQuads = kElements / 4;
  static constexpr int kStageElements = kStageBytes / int(sizeof(W));
  static constexpr int kTerms = std::is_same_v<W, float> ? 3 : 1;  // bf16 numbers whose sum is a weight
  static constexpr bool kScaled = std::is_same_v<W, F8E4M3>;
};

// Bytes 0 and 2 of four e4m3 (kOdd: 1 and 3) as bf16, exactly but for NaN, which becomes 480: their bits lie alike, with another
// bias.
template <bool kOdd>
__device__ inline uint32_t bf16_of_e4m3(uint32_t four) {
  constexpr uint32_t kTwoTo120 = 0x7b807b80u;
  const uint32_t magnitude = (kOdd ? four >> 4 : four << 4) & 0x07f007f0u, sign = (kOdd ? four : four << 8) & 0x80008000u;
  return ptx::multiply_bf16(magnitude | sign, kTwoTo120);
}

// The upper halves of two words in one.
__device__ inline uint32_t upper_halves(uint32_t low, uint32_t high) { return __byte_perm(low, high, 0x7632); }

// Of an fp32 weight, what the first `term` numbers of bf16 have left. Three of eight bits each are all of it; infinity leaves none.
__device__ inline uint32_t remainder_of(uint32_t bits, int term) {
  for (int i = 0; i < term; ++i) {
    const uint32_t top = bits & 0xffff0000u;
    bits = (bits & 0x7fffffffu) == 0x7f800000u ? 0 : __float_as_uint(__uint_as_float(bits) - __uint_as_float(top));
  }
  return bits;
}

// An instruction's operand of quad j.
template <class W>
__device__ inline void weights_of(const uint32_t (&word)[4], int j, int term, uint32_t& b0, uint32_t& b1) {
  if constexpr (std::is_same_v<W, Bf16>) b0 = word[2 * j], b1 = word[2 * j + 1];
  else if constexpr (std::is_same_v<W, F8E4M3>) b0 = bf16_of_e4m3<false>(word[j]), b1 = bf16_of_e4m3<true>(word[j]);
  else {
    b0 = upper_halves(remainder_of(word[0], term), remainder_of(word[1], term));
    b1 = upper_halves(remainder_of(word[2], term), remainder_of(word[3], term));
  }
}

// A thread's x of a stage: of tokens g and g + 8, the elements that its runs of w have, two runs of two words for each quad.
template <class W>
struct StageOfX {
  static constexpr int kWords = 2 * WeightRun<W>::kQuads;
  uint32_t word[2][2][kWords];  // [run][token]

  // `from`: the first run of token g. The second run is four threads' runs further on.
  __device__ void load(const char* from, int64_t to_second_token, bool first, bool second) {
#pragma unroll
    for (int run = 0; run < 2; ++run) {
      load_token(word[run][0], from + run * 4 * kWords * 4, first);
      load_token(word[run][1], from + run * 4 * kWords * 4 + to_second_token, second);
    }
  }
  // An instruction's operand that goes with weights_of quad j.
  __device__ void operand(int run, int j, uint32_t (&a)[4]) const {
#pragma unroll
    for (int token = 0; token < 2; ++token) {
      const uint32_t low = word[run][token][2 * j], high = word[run][token][2 * j + 1];
      if constexpr (WeightRun<W>::kScaled) a[token] = __byte_perm(low, high, 0x5410), a[token + 2] = upper_halves(low, high);
      else a[token] = low, a[token + 2] = high;
    }
  }

 private:
  __device__ static void load_token(uint32_t (&w)[kWords], const char* from, bool there) {
#pragma unroll
    for (int i = 0; i < kWords; ++i) w[i] = 0;
    if (!there) return;
    if constexpr (kWords == 2) put(w, *reinterpret_cast<const uint2*>(from));
    else
#pragma unroll
      for (int i = 0; i < kWords; i += 4) put(w + i, *reinterpret_cast<const uint4*>(from + i * 4));
  }
  __device__ static void put(uint32_t* to, uint2 v) { to[0] = v.x, to[1] = v.y; }
  __device__ static void put(uint32_t* to, uint4 v) { to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w; }
};

__device__ inline void wait_for_copies(int groups_pending) {
  switch (groups_pending) {
    case 0:
      return ptx::cp_async_wait<0>();
    case 1:
      return ptx::cp_async_wait<1>();
    case 2:
      return ptx::cp_async_wait<2>();
    case 3:
      return ptx::cp_async_wait<3>();
    case 4:
      return ptx::cp_async_wait<4>();
    case 5:
      return ptx::cp_async_wait<5>();
    case 6:
      return ptx::cp_async_wait<6>();
    default:
      return ptx::cp_async_wait<7>();
  }
}

// Two small blocks fit a multiprocessor, or one that has all the registers.
constexpr int few_rows_blocks(int tiles) { return tiles <= 3 ? 2 : 1; }

// A warp's part of the product, one of `sharers` of K. Its stage i is stage first_stage + i * sharers of K.
template <class W, int kTiles>
class FewRowsWarp {
  using Run = WeightRun<W>;
  static constexpr int kRows = 8 * kTiles, kSlotBytes = kRows * kStageBytes;
  static constexpr int kAhead = (std::is_same_v<W, F8E4M3> ? 2 : 4) / few_rows_blocks(kTiles);  // stages of x, in registers

 public:
  __device__ FewRowsWarp(const FewRows& p, char* ring, int64_t first_row, int first_stage, int sharers)
      : p_(p), ring_(ring), first_row_(first_row), first_stage_(first_stage), sharers_(sharers), lane_(int(threadIdx.x) % kWarp) {
    count_ = p.stages > first_stage ? (p.stages - first_stage + sharers - 1) / sharers : 0;
  }

  // Sends for the first stages, and for all scales to L2.
  __device__ void fill() const {
    for (int i = 0; i < p_.slots; ++i) send_for(i, i);
    if constexpr (Run::kScaled)
      for (int64_t i = lane_; i < count_; i += kWarp)
        for (const int row : {0, kRows - 1}) ptx::prefetch_l2(scale_of(row, i));
  }

  // sum[tile] is a fragment of 16 tokens by 8 rows of w. kAhead stages of x are on their way, each read when its place is free.
  __device__ void multiply(int64_t first_token, float (&sum)[kTiles][4]) const {
    StageOfX<W> of_x[kAhead];
    float scale[kAhead][kTiles];
    uint32_t nan[kTiles] = {};
#pragma unroll
    for (int a = 0; a < kAhead; ++a) read_ahead(a, first_token, of_x[a], scale[a]);
    int slot = 0;
    for (int64_t begin = 0; begin < count_; begin += kAhead)
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        const int64_t i = begin + a;
        if (i >= count_) break;
        wait_for_copies(p_.slots - 1);
        __syncwarp();  // the other lanes' copies have arrived too
        multiply_stage(ring_ + slot * kSlotBytes, of_x[a], scale[a], sum, nan);
        __syncwarp();  // all lanes have read the slot
        send_for(i + p_.slots, slot);
        read_ahead(i + kAhead, first_token, of_x[a], scale[a]);
        slot = slot + 1 == p_.slots ? 0 : slot + 1;
      }
    wait_for_copies(0);
    if constexpr (Run::kScaled) spread_nan(nan, sum);
  }

 private:
  __device__ int64_t stage(int64_t i) const { return first_stage_ + i * sharers_; }

  // Eight threads copy a row's 128 bytes. In odd rows the halves change places, so that two rows are read without a bank conflict.
  __device__ static int swizzled(int run, int row) { return run ^ row % 2 * 4; }
  __device__ void send_for(int64_t i, int slot) const {
    if (i < count_) {
      const int row = lane_ / 8, run = lane_ % 8;
      const char* w = p_.w + stage(i) * kStageBytes + run * 16;
      const uint32_t to = ptx::shared_address(ring_ + slot * kSlotBytes + row * kStageBytes + swizzled(run, row) * 16);
#pragma unroll
      for (int r = 0; r < kRows; r += 4)  // beyond the last row that one again, of which nothing is stored
        ptx::cp_async_16(to + r * kStageBytes, w + min(first_row_ + r + row, p_.rows - 1) * p_.w_row);
    }
    ptx::cp_async_commit();  // an empty group keeps the count
  }

  // A stage of e4m3 is a block of the scales.
  __device__ const float* scale_of(int row, int64_t i) const {
    return p_.scale + min(first_row_ + row, p_.rows - 1) / 128 * p_.scale_row + stage(i);
  }

  // x of stage i, and the scales.
  __device__ void read_ahead(int64_t i, int64_t first_token, StageOfX<W>& of_x, float (&scale)[kTiles]) const {
    const int64_t token = first_token + lane_ / 4;
    const bool here = i < count_;
    const char* x = p_.x + token * p_.x_row + (stage(i) * Run::kStageElements + lane_ % 4 * Run::kElements) * 2;
    of_x.load(x, 8 * p_.x_row, here && token < p_.tokens, here && token + 8 < p_.tokens);
    if constexpr (Run::kScaled)
#pragma unroll
      for (int n = 0; n < kTiles; ++n) scale[n] = here ? *scale_of(8 * n, i) : 0;
  }

  __device__ void multiply_stage(const char* slot, const StageOfX<W>& x, const float (&scale)[kTiles], float (&sum)[kTiles][4],
                                 uint32_t (&nan)[kTiles]) const {
    const int row = lane_ / 4;
    float block[kTiles][4] = {};
#pragma unroll
    for (int run = 0; run < 2; ++run)
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
        const char* from = slot + (n * 8 + row) * kStageBytes + swizzled(run * 4 + lane_ % 4, row) * 16;
        const uint4 v = *reinterpret_cast<const uint4*>(from);
        const uint32_t word[4] = {v.x, v.y, v.z, v.w};
        if constexpr (Run::kScaled) note_nan(word, nan[n]);
#pragma unroll
        for (int j = 0; j < Run::kQuads; ++j) {
          uint32_t a[4];
          x.operand(run, j, a);
#pragma unroll
          for (int term = 0; term < Run::kTerms; ++term) {
            uint32_t b0, b1;
            weights_of<W>(word, j, term, b0, b1);
            ptx::mma_m16n8k16_bf16(Run::kScaled ? block[n] : sum[n], a, b0, b1);
          }
        }
      }
    if constexpr (Run::kScaled)
#pragma unroll
      for (int n = 0; n < kTiles; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) sum[n][i] = fmaf(block[n][i], scale[n], sum[n][i]);
  }

  // Bit 7 of a byte: one of e4m3 was NaN.
  __device__ static void note_nan(const uint32_t (&word)[4], uint32_t& nan) {
#pragma unroll
    for (int i = 0; i < 4; ++i) nan |= (word[i] & 0x7f7f7f7fu) + 0x01010101u;
  }
  // A row of w with a NaN is NaN for every token: 0 * NaN.
  __device__ static void spread_nan(const uint32_t (&nan)[kTiles], float (&sum)[kTiles][4]) {
    const uint32_t zero[4] = {};
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      const uint32_t b = nan[n] & 0x80808080u ? 0x7fc07fc0u : 0;
      ptx::mma_m16n8k16_bf16(sum[n], zero, b, b);
    }
  }

  const FewRows& p_;
  char* ring_;
  int64_t first_row_, count_;
  int first_stage_, sharers_, lane_;
};

// These do nothing where a cluster is one block; their instructions are known from sm_90 on.
template <int kBlocks>
__device__ inline void arrive_in_cluster() {
#if __CUDA_ARCH__ >= 900
  if constexpr (kBlocks > 1) ptx::cluster_arrive();
#endif
}
template <int kBlocks>
__device__ inline void wait_for_cluster() {
#if __CUDA_ARCH__ >= 900
  if constexpr (kBlocks > 1) ptx::cluster_wait();
#endif
}
__device__ inline void put_in_cluster([[maybe_unused]] float* at, [[maybe_unused]] int rank, [[maybe_unused]] float x) {
#if __CUDA_ARCH__ >= 900
  ptx::store_in_cluster(ptx::shared_address(at), uint32_t(rank), x);
#endif
}

// Shared memory: `arriving` for the sums of a cluster's blocks, then the rings, and in their place, when they are done, `partial`
// for those of the warps.
template <int kTiles>
struct FewRowsShared {
  static constexpr int kRows = 8 * kTiles;
  static constexpr int kPitch = kRows + 8;  // floats from token to token, of partial; no bank conflicts
  static constexpr int kArrivingBytes = kRows * kFewTokens * 4, kRingBytes = kFewWarps * kRows * kStageBytes;  // of a slot
  static constexpr int kPartialBytes = kFewWarps * kFewTokens * kPitch * 4, kLeastSlots = 2;
  static_assert(kPartialBytes <= kLeastSlots * kRingBytes);
};

template <int kTiles>
__device__ inline void store_partial(float* partial, const float (&sum)[kTiles][4]) {
  constexpr int kPitch = FewRowsShared<kTiles>::kPitch;
  const int warp = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
  float* to = partial + (warp * kFewTokens + lane / 4) * kPitch + lane % 4 * 2;
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
    *reinterpret_cast<float2*>(to + n * 8) = make_float2(sum[n][0], sum[n][1]);
    *reinterpret_cast<float2*>(to + n * 8 + 8 * kPitch) = make_float2(sum[n][2], sum[n][3]);
  }
}

__device__ inline void put_result(const FewRows& p, int64_t token, int64_t row, float x) {
  if (row >= p.rows) return;
  const int64_t at = token * p.y_row + row;
  if (p.y_is_bf16) reinterpret_cast<Bf16*>(p.y)[at] = from_float<Bf16>(x);
  else reinterpret_cast<float*>(p.y)[at] = x;
}

// Sums of the warps' parts, in order, to y or to the block of the cluster that has these rows.
template <int kTiles, int kBlocks>
__device__ inline void add_warps(const FewRows& p, const float* partial, float* arriving, int rank, int64_t first_row,
                                 int64_t first_token, int tokens) {
  using Shared = FewRowsShared<kTiles>;
  constexpr int kRows = Shared::kRows, kShare = kRows / kBlocks;
  for (int i = int(threadIdx.x); i < tokens * kRows; i += kFewThreads) {
    const int token = i / kRows, row = i % kRows;
    float total = partial[token * Shared::kPitch + row];
#pragma unroll
    for (int w = 1; w < kFewWarps; ++w) total += partial[(w * kFewTokens + token) * Shared::kPitch + row];
    if constexpr (kBlocks == 1) put_result(p, first_token + token, first_row + row, total);
    else put_in_cluster(arriving + (rank * kFewTokens + token) * kShare + row % kShare, row / kShare, total);
  }
}

// Sums of the cluster's blocks, in order, to y.
template <int kTiles, int kBlocks>
__device__ inline void add_blocks(const FewRows& p, const float* arriving, int64_t first_row, int64_t first_token, int tokens) {
  constexpr int kShare = 8 * kTiles / kBlocks;
  for (int i = int(threadIdx.x); i < tokens * kShare; i += kFewThreads) {
    const int token = i / kShare, row = i % kShare;
    float total = arriving[token * kShare + row];
#pragma unroll
    for (int b = 1; b < kBlocks; ++b) total += arriving[(b * kFewTokens + token) * kShare + row];
    put_result(p, first_token + token, first_row + row, total);
  }
}

template <class W, int kTiles, int kSplit>
__global__ void __launch_bounds__(kFewThreads, few_rows_blocks(kTiles)) few_rows_kernel(const __grid_constant__ FewRows p) {
  using Shared = FewRowsShared<kTiles>;
  constexpr int kRows = Shared::kRows, kBlocks = blocks_of_cluster<kSplit>();
  extern __shared__ __align__(128) char few_rows_memory[];
  float* arriving = reinterpret_cast<float*>(few_rows_memory);
  char* rings = few_rows_memory + Shared::kArrivingBytes;
  float* partial = reinterpret_cast<float*>(rings);

  arrive_in_cluster<kBlocks>();  // this block's memory may be written from now on
  const int rank = int(blockIdx.x) % kBlocks, warp = int(threadIdx.x) / kWarp;
  const int64_t first_row = int64_t(int(blockIdx.x) / kBlocks) * kRows, first_token = int64_t(blockIdx.y) * kFewTokens;
  const FewRowsWarp<W, kTiles> part(p, rings + warp * p.slots * (kRows * kStageBytes), first_row, rank * kFewWarps + warp,
                                    kBlocks * kFewWarps);
  part.fill();
  wait_for_previous_kernel();
  float sum[kTiles][4] = {};
  part.multiply(first_token, sum);

  __syncthreads();  // the rings are done
  store_partial(partial, sum);
  __syncthreads();
  wait_for_cluster<kBlocks>();
  const int tokens = int(min(p.tokens - first_token, int64_t(kFewTokens)));
  add_warps<kTiles, kBlocks>(p, partial, arriving, rank, first_row, first_token, tokens);
  if constexpr (kBlocks > 1) {
    arrive_in_cluster<kBlocks>();
    wait_for_cluster<kBlocks>();
    add_blocks<kTiles, kBlocks>(p, arriving, first_row + rank * (kRows / kBlocks), first_token, tokens);
  }
}

// kSplit or 1, as the kernels do it: a GPU newer than all machine code in this program runs what was compiled for an older one.
template <class W, int kSplit>
Result<int> clusters_of() {
  cudaFuncAttributes a;
  SLUICE_RETURN_IF_ERROR(to_status(cudaFuncGetAttributes(&a, few_rows_kernel<W, 1, kSplit>), "attributes of a kernel"));
  return a.ptxVersion >= 90 ? kSplit : 1;
}

template <class W, int kTiles, int kSplit>
Status launch_few_rows_tiles(const Context& ctx, FewRows p, int blocks) {
  using Shared = FewRowsShared<kTiles>;
  const int64_t groups = (p.rows + Shared::kRows - 1) / Shared::kRows;
  const int64_t room = std::min(int64_t(ctx.gpu->shared_memory) - Shared::kArrivingBytes, kMostRingBytes) / Shared::kRingBytes;
  const int64_t stages = (p.stages + blocks * kFewWarps - 1) / (blocks * kFewWarps);  // of a warp, at most
  p.slots = int(std::clamp<int64_t>(std::min(stages, room), Shared::kLeastSlots, kMostSlots));
  const LaunchShape shape{.grid = dim3(unsigned(groups * blocks), unsigned((p.tokens + kFewTokens - 1) / kFewTokens)),
                          .block = kFewThreads,
                          .shared = size_t(Shared::kArrivingBytes + p.slots * Shared::kRingBytes),
                          .cluster = unsigned(blocks),
                          .dependent = true};
  return launch(ctx, few_rows_kernel<W, kTiles, kSplit>, shape, p);
}

// w of W; kSplit: blocks that share K where there are clusters, a power of two up to 8.
template <class W, int kSplit>
Status launch_few_rows(const Context& ctx, const Tensor& x, const Tensor& w, const Tensor& scale, const Tensor& y) {
  FewRows p{.x = static_cast<const char*>(x.data),
            .w = static_cast<const char*>(w.data),
            .scale = scale.present() ? scale.as<float>() : nullptr,
            .y = static_cast<char*>(y.data),
            .x_row = x.stride[0] * 2,
            .w_row = w.stride[0] * int64_t(sizeof(W)),
            .scale_row = scale.stride[0],
            .y_row = y.stride[0],
            .tokens = 0,
            .rows = w.shape[0],
            .stages = w.shape[1] / WeightRun<W>::kStageElements,
            .slots = 0,
            .y_is_bf16 = y.dtype == DType::kBF16};
  SLUICE_ASSIGN_OR_RETURN(const int blocks, (clusters_of<W, kSplit>()));
  // As few tiles to a block as make one wave.
  const int64_t tiles = (p.rows + 7) / 8, at_once = std::max(1, ctx.gpu->sms / blocks), of_block = (tiles + at_once - 1) / at_once;
  constexpr int64_t kMostTokens = int64_t(65535) * kFewTokens;  // of a grid
  for (int64_t t = 0; t < x.shape[0]; t += kMostTokens) {
    p.tokens = std::min(x.shape[0] - t, kMostTokens);
    p.x = static_cast<const char*>(x.data) + t * p.x_row;
    p.y = static_cast<char*>(y.data) + t * p.y_row * int64_t(dtype_size(y.dtype));
    const auto go = [&]<int kTiles>() { return launch_few_rows_tiles<W, kTiles, kSplit>(ctx, p, blocks); };
    SLUICE_RETURN_IF_ERROR(of_block <= 1   ? go.template operator()<1>()
                           : of_block == 2 ? go.template operator()<2>()
                           : of_block == 3 ? go.template operator()<3>()
                           : of_block == 4 ? go.template operator()<4>()
                                           : go.template operator()<kMostTiles>());
  }
  return {};
}

}  // namespace sluice::cuda
