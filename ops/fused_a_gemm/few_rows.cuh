// y[T, N] = x[T, K] w[N, K]^T for few tokens, where all the cost is the weights' way from memory.
//
// A block has up to 40 rows of w, a multiple of 8, for 16 tokens. K is cut into stages of 128 bytes of a row of w; the warps take
// stages in turn, each through a ring of its own in shared memory, filled by its own copies: no thread waits for another warp until
// the sums meet. A cluster of kSplit blocks shares K in the same way, so that the tokens' rows are read by as many blocks fewer,
// and so that rows of w are cut finer (2624 rows over 66 pairs of blocks: 40 each, one wave on 132 multiprocessors). Copies of w
// begin before the kernel before this one has ended; only x and y wait for it, and then x of all stages in the ring is sent for at
// once.
//
// Matrix instructions have 16 rows of w for their rows and 8 tokens for their columns. The order of k within an instruction is free
// as long as both operands have the same: of bf16 it is that of memory, of others what 16 neighbouring bytes give a thread.
//
// The order of a sum: the stages of a warp, the warps of a block, the blocks of a cluster. It depends on K, W and kSplit only.
#pragma once

#include <algorithm>
#include <bit>
#include <type_traits>

#include "core/cuda/launch.h"
#include "core/cuda/ptx.h"
#include "core/cuda/rows.cuh"

namespace sluice::cuda {

inline constexpr int kFewWarps = 8, kFewThreads = kFewWarps * kWarp;
inline constexpr int kFewTokens = 16;    // of a block, two columns of tiles
inline constexpr int kTileRows = 16;     // of w; with an odd number of groups of eight the last tile is half a one
inline constexpr int kStageBytes = 128;  // of a row of w: a cache line
inline constexpr int kMostGroups = 5;    // of 8 rows of w, in a block
inline constexpr int kMostSlots = 5;     // of a warp's ring

// A call; strides of x and w in bytes, the others in elements. First what the copies of w take: a kernel's parameters come from a
// cache, and are waited for when a line of it is touched first.
struct FewRows {
  const char* w;
  int64_t w_row, rows;  // of w
  int stages, slots;    // of a row of w; of a warp's ring
  const float* scale;   // [N / 128, K / 128], or null
  int64_t scale_row;
  const char* x;
  int64_t x_row, tokens;
  char* y;
  int64_t y_row;
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

// What 16 bytes of w are.
template <class W>
struct WeightRun {
  static constexpr int kElements = 16 / int(sizeof(W));
  static constexpr int kStageElements = kStageBytes / int(sizeof(W));
  static constexpr int kTerms = std::is_same_v<W, float> ? 3 : 1;  // bf16 numbers whose sum is a weight
  static constexpr bool kScaled = std::is_same_v<W, F8E4M3>, kPlain = std::is_same_v<W, Bf16>;
};

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

// Four e4m3 as bf16, exactly. The upper half of a word costs no shift as part of a pair.
__device__ inline void put_e4m3(uint32_t codes, uint32_t& first_two, uint32_t& last_two) {
  const ushort2 pairs = std::bit_cast<ushort2>(codes);
  const float2 first = to_float_pair_e4m3(pairs.x), last = to_float_pair_e4m3(pairs.y);
  first_two = upper_halves(__float_as_uint(first.x), __float_as_uint(first.y));
  last_two = upper_halves(__float_as_uint(last.x), __float_as_uint(last.y));
}

// What an instruction takes of a thread's 16 bytes of two rows of w, four elements of each; `term` is 0 but for fp32.
template <class W>
__device__ inline void weights_of(const uint4& first, const uint4& second, int j, int term, uint32_t (&a)[4]) {
  const uint32_t row[2][4] = {{first.x, first.y, first.z, first.w}, {second.x, second.y, second.z, second.w}};
#pragma unroll
  for (int r = 0; r < 2; ++r)
    if constexpr (std::is_same_v<W, F8E4M3>) {
      put_e4m3(row[r][j], a[r], a[r + 2]);
    } else {
      a[r] = upper_halves(remainder_of(row[r][0], term), remainder_of(row[r][1], term));
      a[r + 2] = upper_halves(remainder_of(row[r][2], term), remainder_of(row[r][3], term));
    }
}

// x of a stage in shared memory: of each token as many bytes as go with 128 of w, in pieces of 16 whose order depends on the token,
// so that no read has a bank conflict.
template <class W>
struct StageOfX {
  static constexpr int kTokenBytes = WeightRun<W>::kStageElements * 2, kBytes = kFewTokens * kTokenBytes;
  static constexpr int kPieces = kTokenBytes / 16;            // of a token
  static constexpr int kWords = WeightRun<W>::kElements / 2;  // that go with 16 bytes of w

  __device__ static int place(int piece, int token) {
    if constexpr (WeightRun<W>::kPlain) return piece ^ token % 8;
    else if constexpr (WeightRun<W>::kScaled) return piece ^ token % 2;
    else return piece ^ token / 2 % 2 * 2;
  }
  // The words of a token that go with run l (half 0) or 4 + l (half 1) of a row of w, l < 4.
  __device__ static void read(uint32_t (&word)[kWords], const char* x, int half, int l, int token) {
    const int odd = WeightRun<W>::kScaled ? token % 2 : token / 2 % 2;
    const char* from = x + token * kTokenBytes;
    if constexpr (kWords == 2) {
      const uint2 v = *reinterpret_cast<const uint2*>(from + l * 8 + (half ? 32 - 32 * odd : 32 * odd));
      word[0] = v.x, word[1] = v.y;
    } else if constexpr (kWords == 8) {
      const char* near = from + (2 * l + odd) * 16 + half * 128;
      put(word, *reinterpret_cast<const uint4*>(near));
      put(word + 4, *reinterpret_cast<const uint4*>(near + 16 - 32 * odd));
    }
  }
  __device__ static void put(uint32_t* to, const uint4& v) { to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w; }
};

// A warp's part of the product, one of `sharers` of K. Its stage i is stage first_stage + i * sharers of K.
template <class W, int kGroups>
class FewRowsWarp {
  using Run = WeightRun<W>;
  using X = StageOfX<W>;
  static constexpr int kRows = 8 * kGroups, kTiles = (kGroups + 1) / 2;

 public:
  using Sums = float[kTiles][2][4];
  static constexpr int kSlotBytes = kRows * kStageBytes + X::kBytes;

  __device__ FewRowsWarp(const FewRows& p, char* ring, int64_t first_row, int first_stage, int sharers)
      : p_(p), ring_(ring), first_row_(first_row), first_stage_(first_stage), sharers_(sharers), lane_(int(threadIdx.x) % kWarp) {
    count_ = p.stages > first_stage ? (p.stages - first_stage + sharers - 1) / sharers : 0;
  }

  // Sends for the weights of the first stages, and reads their scales.
  __device__ void fill() {
    for (int i = 0; i < p_.slots; ++i) {
      send_for_w(i, i);
      ptx::cp_async_commit();
    }
    read_scales(0);
  }

  // sum[tile][c] is a fragment of 16 rows of w by 8 tokens.
  __device__ void multiply(int64_t first_token, int tokens, Sums& sum) {
    const char* x = p_.x + first_token * p_.x_row;
    for (int i = 0; i < p_.slots; ++i) {
      send_for_x(i, i, x, tokens);
      ptx::cp_async_commit();
    }
    int slot = 0;
    for (int i = 0; i < count_; ++i) {
      ptx::cp_async_wait(p_.slots - 1);
      __syncwarp();  // the other lanes' copies have arrived too
      multiply_stage(i, ring_ + slot * kSlotBytes, tokens > 8, sum);
      __syncwarp();  // all lanes have read the slot
      send_for_w(i + p_.slots, slot);
      send_for_x(i + p_.slots, slot, x, tokens);
      ptx::cp_async_commit();  // an empty group keeps the count
      slot = slot + 1 == p_.slots ? 0 : slot + 1;
    }
    ptx::cp_async_wait<0>();
  }

 private:
  __device__ int stage(int i) const { return first_stage_ + i * sharers_; }

  // Eight threads copy a row's 128 bytes; runs of 16 change places so that reads have no bank conflict.
  __device__ static int swizzled(int run, int row) { return run ^ (Run::kPlain ? row % 8 : row % 2 * 4); }
  // What stands in the place of rows that are not there does not matter: they are rows of y that are not there either.
  __device__ void send_for_w(int i, int slot) const {
    if (i >= count_) return;
    const int row = lane_ / 8, run = lane_ % 8, rows = int(min(p_.rows - first_row_, int64_t(kRows)));
    const char* w = p_.w + (first_row_ + row) * p_.w_row + stage(i) * kStageBytes + run * 16;
    const uint32_t to = ptx::shared_address(ring_ + slot * kSlotBytes + row * kStageBytes + run * 16);
#pragma unroll
    for (int r = 0; r < kRows; r += 4) {
      const int moved = (swizzled(run, r + row) - run) * 16;
      if (r + row < rows) ptx::cp_async_16(to + r * kStageBytes + moved, w);
      w += 4 * p_.w_row;
      ptx::pin(w);  // a loop's invariant pointers would be sixteen
    }
  }
  // What stands in the place of tokens that are not there does not matter: a row of x is in its own row of y only.
  __device__ void send_for_x(int i, int slot, const char* x, int tokens) const {
    if (i >= count_) return;
    constexpr int kAtOnce = kWarp / X::kPieces;  // tokens
    const int piece = lane_ % X::kPieces, first = lane_ / X::kPieces;
    const char* from = x + first * p_.x_row + stage(i) * X::kTokenBytes + piece * 16;
    const uint32_t to = ptx::shared_address(ring_ + slot * kSlotBytes + kRows * kStageBytes);
#pragma unroll
    for (int t = 0; t < kFewTokens; t += kAtOnce) {
      if (t + first < tokens) ptx::cp_async_16(to + (t + first) * X::kTokenBytes + X::place(piece, t + first) * 16, from);
      from += kAtOnce * p_.x_row;
      ptx::pin(from);
    }
  }

  // A stage of e4m3 is a block of the scales, and this block's rows are of one or two. A lane has those of stage `from` + lane.
  __device__ void read_scales(int from) {
    if constexpr (Run::kScaled) {
      if (from + lane_ >= count_) return;
      const float* s = p_.scale + stage(from + lane_);
      const int64_t last = p_.rows - 1;
      scale_[0] = s[min(first_row_, last) / 128 * p_.scale_row];
      scale_[1] = s[min(first_row_ + kRows - 1, last) / 128 * p_.scale_row];
    }
  }

  // `both`: there are more than 8 tokens.
  __device__ void multiply_stage(int i, const char* slot, bool both, Sums& sum) {
    const char* x = slot + kRows * kStageBytes;
    if constexpr (Run::kPlain) multiply_plain(slot, x, both, sum);
    else multiply_runs(i, slot, x, both, sum);
  }

  __device__ void multiply_plain(const char* w, const char* x, bool both, Sums& sum) const {
    const int row = lane_ % 8, matrix = lane_ / 8;
    const uint32_t at_w = ptx::shared_address(w + row * kStageBytes);
    const uint32_t at_x = ptx::shared_address(x + (row + matrix / 2 * 8) * X::kTokenBytes);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      uint32_t b[4];
      ptx::ldmatrix_x4(b, at_x + X::place(2 * k + matrix % 2, row) * 16);
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
        const int lower = 2 * n + 1 < kGroups ? matrix % 2 * 8 * kStageBytes : 0;  // of half a tile the same eight rows again
        uint32_t a[4];
        ptx::ldmatrix_x4(a, at_w + n * kTileRows * kStageBytes + lower + swizzled(2 * k + matrix / 2, row) * 16);
        ptx::mma_m16n8k16_bf16(sum[n][0], a, b[0], b[1]);
        if (both) ptx::mma_m16n8k16_bf16(sum[n][1], a, b[2], b[3]);
      }
    }
  }

  // Two tiles at a time: their four chains of instructions keep the tensor cores busy, and more would cost registers.
  __device__ void multiply_runs(int i, const char* w, const char* x, bool both, Sums& sum) {
    if (Run::kScaled && i > 0 && i % kWarp == 0) read_scales(i);
    const float low = __shfl_sync(0xffffffffu, scale_[0], i % kWarp), high = __shfl_sync(0xffffffffu, scale_[1], i % kWarp);
    const int64_t border = first_row_ / 128 * 128 + 128;  // of scales
    const char* from = w + lane_ / 4 * kStageBytes + (lane_ % 4 * 16 + lane_ / 4 % 2 * 64);
    multiply_pairs<0>(from, x, both, sum, low, high, int(min(border - first_row_, int64_t(kRows))));
  }

  template <int kFirst>
  __device__ void multiply_pairs(const char* w, const char* x, bool both, Sums& sum, float low, float high, int border) const {
    const int odd = lane_ / 4 % 2 * 64;
    constexpr int kNow = kTiles - kFirst < 2 ? kTiles - kFirst : 2;
    float part[kNow][2][4] = {};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint32_t b[2][X::kWords];
#pragma unroll
      for (int c = 0; c < 2; ++c) X::read(b[c], x, half, lane_ % 4, lane_ / 4 + 8 * c);
      uint4 row[kNow][2];
      const char* from = w + kFirst * kTileRows * kStageBytes + (half ? 64 - 2 * odd : 0);
#pragma unroll
      for (int r = 0; r < 2 * kNow; ++r)
        row[r / 2][r % 2] = 2 * kFirst + r < kGroups ? *reinterpret_cast<const uint4*>(from + r * 8 * kStageBytes) : uint4{};
#pragma unroll
      for (int j = 0; j < X::kWords / 2; ++j)
#pragma unroll
        for (int term = 0; term < Run::kTerms; ++term)
#pragma unroll
          for (int n = 0; n < kNow; ++n) {
            uint32_t a[4];
            weights_of<W>(row[n][0], row[n][1], j, term, a);
            ptx::mma_m16n8k16_bf16(part[n][0], a, b[0][2 * j], b[0][2 * j + 1]);
            if (both) ptx::mma_m16n8k16_bf16(part[n][1], a, b[1][2 * j], b[1][2 * j + 1]);
          }
    }
#pragma unroll
    for (int n = 0; n < kNow; ++n)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int group = 2 * (kFirst + n) + j / 2;
        const float scale = !Run::kScaled ? 1 : 8 * group < border ? low : high;
#pragma unroll
        for (int c = 0; c < 2; ++c) sum[kFirst + n][c][j] = fmaf(part[n][c][j], scale, sum[kFirst + n][c][j]);
      }
    if constexpr (kFirst + 2 < kTiles) multiply_pairs<kFirst + 2>(w, x, both, sum, low, high, border);
  }

  const FewRows& p_;
  char* ring_;
  int64_t first_row_;
  int first_stage_, sharers_, lane_, count_;
  float scale_[2] = {};
};

// How the sums of a cluster's warps meet. The warps of a block put theirs where the rings were; the sums of those go to the block
// of the cluster that has a share of the rows, past all barriers: their bytes arrive at its `bar`, and nothing else is waited for.
template <int kGroups, int kBlocks>
struct FewRowsMeeting {
  static constexpr int kRows = 8 * kGroups, kTiles = (kGroups + 1) / 2, kShare = kRows / kBlocks;
  static constexpr int kPitch = kFewTokens + 8;  // floats from row to row, of partial; stores have no bank conflicts
  static constexpr int kArrivingBytes = kBlocks == 1 ? 0 : kRows * kFewTokens * 4, kHeaderBytes = 128 + kArrivingBytes;
  static_assert(kRows % kBlocks == 0 && kPitch * 4 <= kStageBytes, "the warps' sums fit a slot of each ring");

  char* memory;
  int64_t first_row, first_token;
  int tokens, rank;  // of this block

  __device__ uint64_t* bar() const { return reinterpret_cast<uint64_t*>(memory); }
  __device__ float* arriving() const { return reinterpret_cast<float*>(memory + 128); }
  __device__ char* rings() const { return memory + kHeaderBytes; }
  __device__ float* partial() const { return reinterpret_cast<float*>(rings()); }
  __device__ int pairs() const { return (tokens + 1) / 2; }  // of tokens

  // Lets the cluster's other blocks know that they may send here. Nothing where a cluster is one block: the instructions are known
  // from sm_90 on.
  __device__ void open() const {
#if __CUDA_ARCH__ >= 900
    if constexpr (kBlocks > 1) {
      if (threadIdx.x == 0) {
        ptx::mbarrier_init(bar(), 1);
        ptx::fence_barrier_init();
        ptx::mbarrier_arrive_expect(bar(), uint32_t(kRows * 2 * pairs() * 4));
      }
      __syncwarp();
      ptx::cluster_arrive_relaxed();
    }
#endif
  }
  __device__ void wait_until_open() const {
#if __CUDA_ARCH__ >= 900
    if constexpr (kBlocks > 1) ptx::cluster_wait();
#endif
  }

  // The sums of a warp's stages; fragments of 16 rows by 8 tokens.
  __device__ void store_partial(const float (&sum)[kTiles][2][4]) const {
    const int warp = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
    float* to = partial() + (warp * kRows + lane / 4) * kPitch + lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int c = 0; c < 2; ++c)
#pragma unroll
        for (int i = 0; i < 2 && 2 * n + i < kGroups; ++i)
          *reinterpret_cast<float2*>(to + (n * kTileRows + i * 8) * kPitch + c * 8) =
              make_float2(sum[n][c][2 * i], sum[n][c][2 * i + 1]);
  }

  // Sums of the warps' parts, in order, to y or to the block of the cluster that has these rows.
  __device__ void add_warps(const FewRows& p) const {
    for (int i = int(threadIdx.x); i < pairs() * kRows; i += kFewThreads) {
      const int token = i / kRows * 2, row = i % kRows;
      const float* from = partial() + row * kPitch + token;
      float2 total = *reinterpret_cast<const float2*>(from);
#pragma unroll
      for (int w = 1; w < kFewWarps; ++w) {
        const float2 more = *reinterpret_cast<const float2*>(from + w * kRows * kPitch);
        total.x += more.x, total.y += more.y;
      }
      if constexpr (kBlocks == 1) {
        put(p, token, row, total.x), put(p, token + 1, row, total.y);
      } else {
#if __CUDA_ARCH__ >= 900
        float* at = arriving() + (rank * kShare + row % kShare) * kFewTokens + token;
        ptx::send_in_cluster(at, uint32_t(row / kShare), total.x, total.y, bar());
#endif
      }
    }
  }

  // Sums of the cluster's blocks, in order, to y.
  __device__ void add_blocks(const FewRows& p) const {
    if constexpr (kBlocks == 1) return;
#if __CUDA_ARCH__ >= 900
    ptx::mbarrier_wait(bar(), 0);
    for (int i = int(threadIdx.x); i < tokens * kShare; i += kFewThreads) {
      const int token = i / kShare, row = i % kShare;
      float total = arriving()[row * kFewTokens + token];
#pragma unroll
      for (int b = 1; b < kBlocks; ++b) total += arriving()[(b * kShare + row) * kFewTokens + token];
      put(p, token, rank * kShare + row, total);
    }
#endif
  }

 private:
  __device__ void put(const FewRows& p, int token, int row, float x) const {
    if (token >= tokens || first_row + row >= p.rows) return;
    const int64_t at = (first_token + token) * p.y_row + first_row + row;
    if (p.y_is_bf16) reinterpret_cast<Bf16*>(p.y)[at] = from_float<Bf16>(x);
    else reinterpret_cast<float*>(p.y)[at] = x;
  }
};

template <class W, int kGroups, int kSplit>
__global__ void __launch_bounds__(kFewThreads) few_rows_kernel(const __grid_constant__ FewRows p) {
  constexpr int kBlocks = blocks_of_cluster<kSplit>(), kRows = 8 * kGroups;
  using Part = FewRowsWarp<W, kGroups>;
  extern __shared__ __align__(128) char few_rows_memory[];
  const int rank = int(blockIdx.x) % kBlocks, warp = int(threadIdx.x) / kWarp;
  const int64_t first_row = int64_t(int(blockIdx.x) / kBlocks) * kRows, first_token = int64_t(blockIdx.y) * kFewTokens;
  const int tokens = int(min(p.tokens - first_token, int64_t(kFewTokens)));
  const FewRowsMeeting<kGroups, kBlocks> meeting{few_rows_memory, first_row, first_token, tokens, rank};
  Part part(p, meeting.rings() + warp * p.slots * Part::kSlotBytes, first_row, rank * kFewWarps + warp, kBlocks * kFewWarps);
  part.fill();
  meeting.open();
  meeting.wait_until_open();
  wait_for_previous_kernel();

  float sum[(kGroups + 1) / 2][2][4] = {};
  part.multiply(first_token, tokens, sum);
  __syncthreads();  // the rings are done
  meeting.store_partial(sum);
  __syncthreads();
  meeting.add_warps(p);
  meeting.add_blocks(p);
}

// kSplit or 1, as the kernels do it: a GPU newer than all machine code in this program runs what was compiled for an older one.
template <class W, int kSplit>
Result<int> clusters_of() {
  cudaFuncAttributes a;
  SLUICE_RETURN_IF_ERROR(to_status(cudaFuncGetAttributes(&a, few_rows_kernel<W, kMostGroups, kSplit>), "attributes of a kernel"));
  return a.ptxVersion >= 90 ? kSplit : 1;
}

template <class W, int kGroups, int kSplit>
Status launch_few_rows_groups(const Context& ctx, FewRows p, int blocks) {
  using Meeting = FewRowsMeeting<kGroups, kSplit>;
  constexpr int64_t kRing = kFewWarps * FewRowsWarp<W, kGroups>::kSlotBytes;  // a slot of each warp
  const int64_t room = (ctx.gpu->shared_memory - Meeting::kHeaderBytes) / kRing;
  const int64_t turns = (p.stages + blocks * kFewWarps - 1) / (blocks * kFewWarps);
  p.slots = int(std::clamp<int64_t>(std::min(turns, room), 1, kMostSlots));
  const LaunchShape shape{.grid = dim3(unsigned((p.rows + Meeting::kRows - 1) / Meeting::kRows * blocks),
                                       unsigned((p.tokens + kFewTokens - 1) / kFewTokens)),
                          .block = kFewThreads,
                          .shared = size_t(Meeting::kHeaderBytes + p.slots * kRing),
                          .cluster = unsigned(blocks),
                          .dependent = true};
  return launch(ctx, few_rows_kernel<W, kGroups, kSplit>, shape, p);
}

// Calls launch(FewRows, groups) for no more tokens at a time than a grid takes. `groups`, a constant, is as few eights of rows of w
// to `blocks` that share them as make one wave.
template <class W, class Launch>
Status in_waves(const Context& ctx, const Tensor& x, const Tensor& w, const Tensor& scale, const Tensor& y, int blocks,
                Launch&& launch) {
  FewRows p{.w = static_cast<const char*>(w.data),
            .w_row = w.stride[0] * int64_t(sizeof(W)),
            .rows = w.shape[0],
            .stages = int(w.shape[1] / WeightRun<W>::kStageElements),
            .slots = 0,
            .scale = scale.present() ? scale.as<float>() : nullptr,
            .scale_row = scale.stride[0],
            .x = static_cast<const char*>(x.data),
            .x_row = x.stride[0] * 2,
            .tokens = 0,
            .y = static_cast<char*>(y.data),
            .y_row = y.stride[0],
            .y_is_bf16 = y.dtype == DType::kBF16};
  const int64_t groups = (p.rows + 7) / 8, at_once = std::max(1, ctx.gpu->sms / blocks),
                of_block = (groups + at_once - 1) / at_once;
  constexpr int64_t kMostTokens = int64_t(65535) * kFewTokens;  // of a grid
  for (int64_t t = 0; t < x.shape[0]; t += kMostTokens) {
    p.tokens = std::min(x.shape[0] - t, kMostTokens);
    p.x = static_cast<const char*>(x.data) + t * p.x_row;
    p.y = static_cast<char*>(y.data) + t * p.y_row * int64_t(dtype_size(y.dtype));
    SLUICE_RETURN_IF_ERROR((of_block <= 2   ? launch(p, std::integral_constant<int, 2>())
                            : of_block <= 4 ? launch(p, std::integral_constant<int, 4>())
                                            : launch(p, std::integral_constant<int, kMostGroups>())));
  }
  return {};
}

// w of W; kSplit: blocks that share K where there are clusters, a power of two up to 8.
template <class W, int kSplit>
Status launch_few_rows(const Context& ctx, const Tensor& x, const Tensor& w, const Tensor& scale, const Tensor& y) {
  SLUICE_ASSIGN_OR_RETURN(const int blocks, (clusters_of<W, kSplit>()));
  return in_waves<W>(ctx, x, w, scale, y, blocks,
                     [&](const FewRows& p, auto groups) { return launch_few_rows_groups<W, groups(), kSplit>(ctx, p, blocks); });
}

}  // namespace sluice::cuda
