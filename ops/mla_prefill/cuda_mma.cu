// Tensor cores, for heads of 128 + 64 and 128 elements (DeepSeek) and of 192 + 64 and 256 (GLM): a block of threads has a tile of a
// sequence's rows with one head, a warp 16 or 32 of them, and goes through their keys 64 at a time. Scores stay in registers: what
// the first product leaves there is the second one's operand as it is. Keys come to shared memory while the last weighted sum is
// computed, values while the scores are.
#include <algorithm>
#include <climits>
#include <cmath>

#include "core/cuda/launch.h"
#include "ops/merge_state/states.h"
#include "ops/mla_decode/tiles.cuh"
#include "ops/mla_prefill/forms.h"
#include "ops/mla_prefill/sequences.cuh"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kBlock = 64;  // keys
constexpr int kRope = 64;
constexpr float kLog2E = 1.44269504088896341f;

struct Call {
  MlaSequences sequences;
  const char *q, *k_nope, *k_pe, *v;
  int64_t q_row, q_head, k_nope_row, k_nope_head, k_pe_row, v_row, v_head;  // strides in bytes
  char* o;
  int64_t o_row, o_head;
  float* lse;
  int64_t lse_row, lse_head;
  int64_t tiles;  // of a head, at most; fits 32 bits
  bool o_is_f32;
  float scale_log2, to_base;  // base 2 logarithms to lse's base
};

template <int kNopeSize, int kValueSize, int kWarpCount, int kRowTiles>
struct Shape {
  static constexpr int kNope = kNopeSize, kValue = kValueSize;
  static constexpr int kWarps = kWarpCount, kThreads = kWarps * kWarp;
  static constexpr int kTiles = kRowTiles;  // of 16 rows, of a warp
  static constexpr int kRows = kWarps * kTiles * 16;
  static constexpr int kKeyChunks = (kNope + kRope) / 8, kValueChunks = kValue / 8;  // of 16 bytes
  static constexpr int kQueryBytes = kRows * kKeyChunks * 16, kKeyBytes = kBlock * kKeyChunks * 16;
  static constexpr int kBytes = kQueryBytes + kKeyBytes + kBlock * kValueChunks * 16;
};

template <class S>
class Attention {
 public:
  __device__ Attention(const Call& c, const MlaTile& work, int head, char* memory)
      : c_(c),
        first_row_(int(work.sequence.first_row + work.begin)),
        rows_(int(min(work.sequence.rows - work.begin, int64_t(S::kRows)))),
        first_key_(int(work.sequence.first_key)),
        end_(int(work.sequence.limit(work.begin + rows_ - 1, c.sequences.causal))),
        before_(c.sequences.causal ? int(work.sequence.keys - work.sequence.rows + work.begin) : end_ - 1),
        head_(head),
        query_{ptx::shared_address(memory)},
        keys_{query_.address + S::kQueryBytes},
        values_{query_.address + S::kQueryBytes + S::kKeyBytes},
        lane_(int(threadIdx.x) % kWarp),
        warp_(int(threadIdx.x) / kWarp) {}

  __device__ void run() {
    clear();
    copy_query();
    if (end_ > 0) copy_keys(0);
    ptx::cp_async_commit();
    for (int b = 0; b < end_; b += kBlock) step(b);
    ptx::cp_async_wait<0>();  // of a tile without keys
    finish();
  }

 private:
  __device__ void clear() {
#pragma unroll
    for (int m = 0; m < S::kTiles; ++m) {
      most_[m][0] = most_[m][1] = -INFINITY, total_[m][0] = total_[m][1] = 0;
#pragma unroll
      for (auto& tile : sums_[m])
#pragma unroll
        for (float& x : tile) x = 0;
    }
  }

  // --- copies to shared memory; zeros where there is no row ---

  template <int kChunks, class From>
  __device__ void copy(const Tile<kChunks>& to, int rows, int count, From&& from) const {
#pragma unroll 2
    for (int i = int(threadIdx.x); i < rows * kChunks; i += S::kThreads) {
      const int row = i / kChunks, chunk = i % kChunks;
      const bool wanted = row < count;
      ptx::cp_async_16(to.at(row, chunk), from(wanted ? row : 0, chunk), wanted);
    }
  }
  __device__ void copy_query() const {
    const char* q = c_.q + first_row_ * c_.q_row + head_ * c_.q_head;
    copy(query_, S::kRows, rows_, [&](int row, int chunk) { return q + row * c_.q_row + chunk * 16; });
  }
  __device__ void copy_keys(int b) const {
    const char* nope = c_.k_nope + (first_key_ + b) * c_.k_nope_row + head_ * c_.k_nope_head;
    const char* pe = c_.k_pe + (first_key_ + b) * c_.k_pe_row;
    copy(keys_, kBlock, end_ - b, [&](int row, int chunk) {
      return chunk < S::kNope / 8 ? nope + row * c_.k_nope_row + chunk * 16 : pe + row * c_.k_pe_row + (chunk - S::kNope / 8) * 16;
    });
  }
  __device__ void copy_values(int b) const {
    const char* v = c_.v + (first_key_ + b) * c_.v_row + head_ * c_.v_head;
    copy(values_, kBlock, end_ - b, [&](int row, int chunk) { return v + row * c_.v_row + chunk * 16; });
  }

  // --- a block of keys ---

  // Of the tile, of this thread's rows: m of the warp's tiles, half 0 or 1.
  __device__ int row_of(int m, int half) const { return (warp_ * S::kTiles + m) * 16 + half * 8 + lane_ / 4; }

  // Keys that a row of the tile sees; may be below 0.
  __device__ int seen_by(int row) const { return min(end_, before_ + row + 1); }

  using Scores = float[S::kTiles][kBlock / 8][4];

  __device__ void step(int b) {
    ptx::cp_async_wait<0>();
    __syncthreads();  // keys are there, and the last block's values are used
    copy_values(b);
    ptx::cp_async_commit();
    Scores s;
    scores(s);
    ptx::cp_async_wait<0>();
    __syncthreads();  // values are there, and keys are used
    if (b + kBlock < end_) copy_keys(b + kBlock);
    ptx::cp_async_commit();
    mask(b, s);
#pragma unroll
    for (int m = 0; m < S::kTiles; ++m) weigh(s[m], m);
    add(s);
  }

  __device__ void scores(Scores& s) const {
#pragma unroll
    for (auto& of_rows : s)
#pragma unroll
      for (auto& tile : of_rows)
#pragma unroll
        for (float& x : tile) x = 0;
#pragma unroll 2
    for (int k = 0; k < S::kKeyChunks / 2; ++k) {
      uint32_t a[S::kTiles][4];
#pragma unroll
      for (int m = 0; m < S::kTiles; ++m) query_.load_a(a[m], (warp_ * S::kTiles + m) * 16, k, lane_);
#pragma unroll
      for (int t = 0; t < kBlock / 8; t += 2) {
        uint32_t keys[4];
        keys_.load_b(keys, t * 8, k, lane_);
#pragma unroll
        for (int m = 0; m < S::kTiles; ++m) {
          ptx::mma_m16n8k16_bf16(s[m][t], a[m], keys[0], keys[1]);
          ptx::mma_m16n8k16_bf16(s[m][t + 1], a[m], keys[2], keys[3]);
        }
      }
    }
  }

  // Scores that a row does not see to -inf; most blocks have none.
  __device__ void mask(int b, Scores& s) const {
    if (b + kBlock <= seen_by(warp_ * S::kTiles * 16)) return;
#pragma unroll
    for (int m = 0; m < S::kTiles; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int seen = seen_by(row_of(m, half)) - b;
#pragma unroll
        for (int t = 0; t < kBlock / 8; ++t)
#pragma unroll
          for (int e = 0; e < 2; ++e)
            if (t * 8 + lane_ % 4 * 2 + e >= seen) s[m][t][2 * half + e] = -INFINITY;
      }
  }

  // Scores to weights; maxima, sums and what was summed so far brought up to date.
  __device__ void weigh(float (&s)[kBlock / 8][4], int m) {
    float factor[2], shift[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = -INFINITY;
#pragma unroll
      for (int t = 0; t < kBlock / 8; ++t) most = fmaxf(most, fmaxf(s[t][2 * half], s[t][2 * half + 1]));
      most = fmaxf(most_[m][half], row_max(most) * c_.scale_log2);
      shift[half] = shift_of(most), factor[half] = ptx::exp2_approx(most_[m][half] - shift[half]);
      most_[m][half] = most, total_[m][half] *= factor[half];
    }
#pragma unroll
    for (int t = 0; t < kBlock / 8; ++t)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        s[t][e] = ptx::exp2_approx(fmaf(s[t][e], c_.scale_log2, -shift[e / 2]));
        total_[m][e / 2] += s[t][e];
      }
    if (!__any_sync(0xffffffffu, factor[0] != 1 || factor[1] != 1)) return;
#pragma unroll
    for (auto& tile : sums_[m])
#pragma unroll
      for (int e = 0; e < 4; ++e) tile[e] *= factor[e / 2];
  }

  __device__ void add(const Scores& s) {
#pragma unroll
    for (int k = 0; k < kBlock / 16; ++k) {
      uint32_t a[S::kTiles][4];
#pragma unroll
      for (int m = 0; m < S::kTiles; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float* tile = s[m][2 * k + i / 2];
          a[m][i] = ptx::pack_bf16(tile[i % 2 * 2], tile[i % 2 * 2 + 1]);
        }
#pragma unroll
      for (int t = 0; t < S::kValue / 8; t += 2) {
        uint32_t v[4];
        values_.load_b_transposed(v, k, t, lane_);
#pragma unroll
        for (int m = 0; m < S::kTiles; ++m) {
          ptx::mma_m16n8k16_bf16(sums_[m][t], a[m], v[0], v[1]);
          ptx::mma_m16n8k16_bf16(sums_[m][t + 1], a[m], v[2], v[3]);
        }
      }
    }
  }

  // --- results ---

  __device__ void finish() {
#pragma unroll
    for (int m = 0; m < S::kTiles; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float total = row_sum(total_[m][half]);
        if (row_of(m, half) < rows_) store(m, half, total);
      }
  }
  __device__ void store(int m, int half, float total) const {
    const float inverse = inverse_of(total);
    const int64_t token = first_row_ + row_of(m, half);
    char* out = c_.o + token * c_.o_row + head_ * c_.o_head;
#pragma unroll
    for (int t = 0; t < S::kValue / 8; ++t) {
      const float x = sums_[m][t][2 * half] * inverse, y = sums_[m][t][2 * half + 1] * inverse;
      const int column = t * 8 + lane_ % 4 * 2;
      if (c_.o_is_f32) *reinterpret_cast<float2*>(out + column * 4) = make_float2(x, y);
      else *reinterpret_cast<uint32_t*>(out + column * 2) = ptx::pack_bf16(x, y);
    }
    if (c_.lse && lane_ % 4 == 0) c_.lse[token * c_.lse_row + head_ * c_.lse_head] = log2_of(most_[m][half], total) * c_.to_base;
  }

  const Call& c_;
  const int first_row_, rows_;          // of the tile; first_row_ of q
  const int first_key_, end_, before_;  // of k_nope; keys that the tile's last row sees; those before its first row's own
  const int head_;
  const Tile<S::kKeyChunks> query_, keys_;
  const Tile<S::kValueChunks> values_;
  const int lane_, warp_;
  float most_[S::kTiles][2], total_[S::kTiles][2];
  float sums_[S::kTiles][S::kValue / 8][4];
};

template <class S>
__global__ void __launch_bounds__(S::kThreads) mla_prefill_mma_kernel(const __grid_constant__ Call c) {
  extern __shared__ __align__(128) char memory[];
  wait_for_previous_kernel();
  const MlaTile work(c.sequences, blockIdx.x % uint32_t(c.tiles), S::kRows);
  if (work.found) {
    Attention<S>(c, work, int(blockIdx.x / uint32_t(c.tiles)), memory).run();
  }
}

template <class S>
Status launch_shape(const Context& ctx, const MlaPrefillArgs& a, Call call) {
  // At most: every sequence may end with a tile that is not full.
  call.tiles = std::min<int64_t>(a.q.dim(0), ceil_div(a.q.dim(0), S::kRows) + call.sequences.count);
  const int64_t blocks = call.tiles * a.q.dim(1);
  if (blocks > INT_MAX) return {Code::kUnsupported, "mla_prefill: more tiles than a grid has blocks"};
  return launch(ctx, mla_prefill_mma_kernel<S>,
                {.grid = unsigned(blocks), .block = S::kThreads, .shared = size_t(S::kBytes), .dependent = true}, call);
}

Call call_of(const MlaPrefillArgs& a) {
  constexpr int64_t kSize = sizeof(Bf16);
  const int64_t o_size = int64_t(dtype_size(a.o.dtype));
  return {.sequences = MlaSequences(a),
          .q = static_cast<const char*>(a.q.data),
          .k_nope = static_cast<const char*>(a.k_nope.data),
          .k_pe = static_cast<const char*>(a.k_pe.data),
          .v = static_cast<const char*>(a.v.data),
          .q_row = a.q.stride[0] * kSize,
          .q_head = a.q.stride[1] * kSize,
          .k_nope_row = a.k_nope.stride[0] * kSize,
          .k_nope_head = a.k_nope.stride[1] * kSize,
          .k_pe_row = a.k_pe.stride[0] * kSize,
          .v_row = a.v.stride[0] * kSize,
          .v_head = a.v.stride[1] * kSize,
          .o = static_cast<char*>(a.o.data),
          .o_row = a.o.stride[0] * o_size,
          .o_head = a.o.stride[1] * o_size,
          .lse = a.lse.present() ? a.lse.as<float>() : nullptr,
          .lse_row = a.lse.stride[0],
          .lse_head = a.lse.stride[1],
          .tiles = 0,
          .o_is_f32 = a.o.dtype == DType::kF32,
          .scale_log2 = a.scale * kLog2E,
          .to_base = float(kLn2 / natural_log_of(a.base))};
}

}  // namespace

Status mla_prefill_cuda_mma(Context& ctx, const MlaPrefillArgs& a, std::byte*) {
  using DeepSeek = Shape<128, 128, 4, 2>;
  using Glm = Shape<192, 256, 8, 1>;
  using GlmSmall = Shape<192, 256, 4, 1>;  // for GPUs whose blocks have less than 128 KiB of shared memory
  const Call call = call_of(a);
  if (a.v.dim(2) == DeepSeek::kValue) return launch_shape<DeepSeek>(ctx, a, call);
  return size_t(Glm::kBytes) <= ctx.gpu->shared_memory ? launch_shape<Glm>(ctx, a, call) : launch_shape<GlmSmall>(ctx, a, call);
}

}  // namespace sluice
