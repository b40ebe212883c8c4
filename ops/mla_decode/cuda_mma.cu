// Tensor cores, for a latent of 512 and a rope of 64: a block of threads has a tile of query rows (heads, or heads of a few rows of
// a sequence) and a stretch of their list of keys, 64 keys at a time. A block of keys comes to shared memory once and is both the
// second operand of the scores and, transposed on its way to registers, that of the weighted sum. Where tiles are too few for the
// GPU, lists are cut into a number of stretches that depends on the call's shape only, and a second kernel merges their results in
// order.
#include <algorithm>
#include <climits>
#include <cmath>

#include "core/cuda/launch.h"
#include "ops/mla_decode/forms.h"
#include "ops/mla_decode/tiles.cuh"
#include "ops/mla_decode/work.cuh"

namespace sluice {
namespace {

using namespace cuda;
using namespace mla_tiles;

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int kFp8Chunks = kFp8Bytes / 16;

// kFp8: the cache's rows. kAhead: shared memory holds the next block of keys too, as it comes from the cache.
template <int kRows, bool kAhead, bool kFp8>
struct Shape {
  static constexpr int kQuery = kRows * kChunks * 16, kKeys = kBlock * kChunks * 16, kWeights = kRows * kBlock * 2;
  static constexpr int kAheadBytes = !kAhead ? 0 : kFp8 ? kBlock * kFp8Bytes : kKeys;
  // Warps of the scores: kScoreM along the rows, kScoreN along the keys, kScoreTiles of 8 keys each.
  static constexpr int kScoreM = kRows / 16, kScoreN = kWarps / kScoreM, kScoreTiles = kBlock / 8 / kScoreN;
  // Warps of the weighted sum: kSumM along the rows, of kSumTiles of 16 each, kSumN along the latent, of kSumColumns each.
  static constexpr int kSumM = kRows / 32 ? kRows / 32 : 1, kSumTiles = kRows / 16 / kSumM;
  static constexpr int kSumN = kWarps / kSumM, kSumColumns = kLatent / kSumN;

  // What a block of threads shares beside the tiles.
  struct Small {
    const char* key[2][kBlock];  // of this block of keys and the next
    uint32_t valid[2][2];        // a bit a key
    float reduced[kScoreN][kRows], factor[kRows], most[kRows];
  };
  static constexpr int kBytes = kQuery + kKeys + kAheadBytes + kWeights + int(sizeof(Small));
};

// 16 codes of e4m3 times their scale, as bf16.
__device__ void widen_fp8(const uint4& codes, float scale, uint4 (&out)[2]) {
  const uint32_t in[4] = {codes.x, codes.y, codes.z, codes.w};
  uint32_t words[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float2 x = to_float_pair_e4m3(uint16_t(in[i / 2] >> (i % 2 * 16)));
    words[i] = ptx::pack_bf16(x.x * scale, x.y * scale);
  }
  out[0] = make_uint4(words[0], words[1], words[2], words[3]), out[1] = make_uint4(words[4], words[5], words[6], words[7]);
}

template <int kRows, bool kAhead, bool kFp8>
class Attention {
  using S = Shape<kRows, kAhead, kFp8>;
  using Small = typename S::Small;

 public:
  __device__ Attention(const Call& c, char* memory)
      : c_(c),
        work_(c),
        memory_(memory),
        small_(*reinterpret_cast<Small*>(memory + S::kBytes - sizeof(Small))),
        query_{ptx::shared_address(memory)},
        keys_{query_.address + S::kQuery},
        weights_{query_.address + S::kQuery + S::kKeys + S::kAheadBytes},
        thread_(int(threadIdx.x)),
        lane_(thread_ % kWarp),
        warp_(thread_ / kWarp) {
    const int64_t blocks = (work_.list.count + kBlock - 1) / kBlock, each = (blocks + c.cut.splits - 1) / c.cut.splits;
    begin_ = min(work_.split * each, blocks), end_ = min(begin_ + each, blocks);
    for (int half = 0; half < 2; ++half) limit_[half] = work_.limit(score_row(half));
  }

  __device__ void run() {
    if (begin_ == end_ && c_.cut.splits > 1) {  // a stretch without keys; the merge does not read its outputs
      if (thread_ < kRows && work_.has(c_, thread_)) c_.part_lse[part_of(thread_)] = -INFINITY;
      return;
    }
    put_keys(begin_, find_key(begin_));
    __syncthreads();
    start(begin_);
    load_query();
    put_keys(begin_ + 1, find_key(begin_ + 1));
    __syncthreads();
    for (int64_t b = begin_; b < end_; ++b) step(b);
    ptx::cp_async_wait<0>();  // of a row without keys
    finish();
  }

 private:
  // --- keys ---

  static __device__ int slot(int64_t b) { return int(b & 1); }

  // The first threads have a key of block b each.
  __device__ const char* find_key(int64_t b) const {
    return thread_ < kBlock && b < end_ ? c_.keys.at(work_.list, b * kBlock + thread_) : nullptr;
  }
  __device__ void put_keys(int64_t b, const char* key) {
    if (thread_ >= kBlock) return;
    small_.key[slot(b)][thread_] = key;
    const uint32_t valid = __ballot_sync(0xffffffffu, key != nullptr);
    if (lane_ == 0) small_.valid[slot(b)][warp_] = valid;
  }
  // Where a bf16 block goes: with two places they take turns.
  __device__ Tile<kChunks> place(int64_t b) const {
    return {keys_.address + (kAhead && !kFp8 && (b - begin_) % 2 ? uint32_t(S::kKeys) : 0)};
  }
  __device__ char* raw() const { return memory_ + S::kQuery + S::kKeys; }

  // Block b on its way. Without a second place the last one is used up.
  __device__ void start(int64_t b) {
    if constexpr (!kFp8) {
      copy_rows<kChunks>(b, [&, to = place(b)](int row, int chunk) { return to.at(row, chunk); });
    } else if constexpr (kAhead) {
      copy_rows<kFp8Chunks>(
          b, [&, to = ptx::shared_address(raw())](int row, int chunk) { return to + uint32_t(row * kFp8Bytes + chunk * 16); });
    }
  }
  template <int kOfRow, class To>
  __device__ void copy_rows(int64_t b, To&& to) {
#pragma unroll 3
    for (int i = thread_; i < kBlock * kOfRow; i += kThreads) {
      const int row = i / kOfRow, chunk = i % kOfRow;
      const char* key = small_.key[slot(b)][row];
      ptx::cp_async_16(to(row, chunk), (key ? key : c_.keys.kv) + chunk * 16, key != nullptr);
    }
    ptx::cp_async_commit();
  }
  // fp8 rows of block b, in shared memory or still in the cache, to bf16.
  __device__ void widen(int64_t b) {
    constexpr int kPieces = kLatent / 16 + kRope / 8;  // 16 codes, or 8 elements of rope
    for (int i = thread_; i < kBlock * kPieces; i += kThreads) {
      const int row = i / kPieces, piece = i % kPieces;
      const char* key = small_.key[slot(b)][row];
      if (kAhead && key) key = raw() + row * kFp8Bytes;
      const int rope = piece - kLatent / 16;
      uint4 out[2] = {};
      if (key && rope >= 0) out[0] = *reinterpret_cast<const uint4*>(key + kFp8Bytes - 2 * kRope + rope * 16);
      else if (key)
        widen_fp8(*reinterpret_cast<const uint4*>(key + piece * 16),
                  *reinterpret_cast<const float*>(key + kLatent + piece / (kMlaScaleGroup / 16) * 4), out);
      if (rope >= 0) store(keys_.at(row, kLatentChunks + rope), out[0]);
      else store(keys_.at(row, 2 * piece), out[0]), store(keys_.at(row, 2 * piece + 1), out[1]);
    }
  }
  // To an address of shared memory.
  __device__ void store(uint32_t to, const uint4& x) { *reinterpret_cast<uint4*>(memory_ + (to - query_.address)) = x; }

  __device__ void load_query() {
    for (int i = thread_; i < kRows * kChunks; i += kThreads) {
      const int row = i / kChunks, chunk = i % kChunks;
      uint4 x = make_uint4(0, 0, 0, 0);
      if (work_.has(c_, row)) {
        const int64_t token = work_.token + work_.token_of(row), head = work_.head_of(row);
        x = chunk < kLatentChunks
                ? query_chunk(c_.q_nope + token * c_.q_nope_row + head * c_.q_nope_head, c_.q_is_f32, chunk)
                : query_chunk(c_.q_pe + token * c_.q_pe_row + head * c_.q_pe_head, c_.q_is_f32, chunk - kLatentChunks);
      }
      store(query_.at(row, chunk), x);
    }
  }

  // --- scores ---

  __device__ int score_m() const { return warp_ % S::kScoreM; }
  __device__ int score_n() const { return warp_ / S::kScoreM; }
  __device__ int score_row(int half) const { return score_m() * 16 + lane_ / 4 + 8 * half; }
  // Of element e of tile t of a score.
  __device__ int score_key(int t, int e) const { return (score_n() * S::kScoreTiles + t) * 8 + lane_ % 4 * 2 + e % 2; }

  __device__ void scores(const Tile<kChunks>& keys, float (&s)[S::kScoreTiles][4]) const {
    const int row = score_m() * 16, key = score_n() * S::kScoreTiles * 8;
#pragma unroll
    for (auto& tile : s)
#pragma unroll
      for (float& x : tile) x = 0;
    if constexpr (S::kScoreTiles == 1) {  // two sums, so that a product does not wait for the last
      float odd[4] = {};
#pragma unroll 2
      for (int k = 0; k < kChunks / 4; ++k) {
        uint32_t a[4], b[4];
        keys.load_b_8(b, key, k, lane_);
        query_.load_a(a, row, 2 * k, lane_);
        ptx::mma_m16n8k16_bf16(s[0], a, b[0], b[1]);
        query_.load_a(a, row, 2 * k + 1, lane_);
        ptx::mma_m16n8k16_bf16(odd, a, b[2], b[3]);
      }
#pragma unroll
      for (int e = 0; e < 4; ++e) s[0][e] += odd[e];
    } else {
#pragma unroll 4
      for (int k = 0; k < kChunks / 2; ++k) {
        uint32_t a[4];
        query_.load_a(a, row, k, lane_);
#pragma unroll
        for (int t = 0; t < S::kScoreTiles; t += 2) {
          uint32_t b[4];
          keys.load_b(b, key + t * 8, k, lane_);
          ptx::mma_m16n8k16_bf16(s[t], a, b[0], b[1]);
          ptx::mma_m16n8k16_bf16(s[t + 1], a, b[2], b[3]);
        }
      }
    }
  }

  // Scores to units of log2, -inf where a row does not see the key; the warp's maximum of each row to shared memory.
  __device__ void mask(int64_t b, float (&s)[S::kScoreTiles][4]) {
    float most[2] = {-INFINITY, -INFINITY};
#pragma unroll
    for (int t = 0; t < S::kScoreTiles; ++t)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int key = score_key(t, e);
        const bool seen = (small_.valid[slot(b)][key / 32] >> (key % 32) & 1) && b * kBlock + key < limit_[e / 2];
        s[t][e] = seen ? s[t][e] * c_.scale_log2 : -INFINITY;
        most[e / 2] = fmaxf(most[e / 2], s[t][e]);
      }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      most[half] = row_max(most[half]);
      if (lane_ % 4 == 0) small_.reduced[score_n()][score_row(half)] = most[half];
    }
  }

  // Scores to weights, in shared memory; the rows' maxima, sums and factors brought up to date.
  __device__ void weigh(float (&s)[S::kScoreTiles][4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = score_row(half);
      float most = most_[half];
#pragma unroll
      for (int n = 0; n < S::kScoreN; ++n) most = fmaxf(most, small_.reduced[n][row]);
      const float shift = shift_of(most), factor = ptx::exp2_approx(most_[half] - shift);
      if (score_n() == 0 && lane_ % 4 == 0) small_.factor[row] = factor;
      float sum = 0;
#pragma unroll
      for (int t = 0; t < S::kScoreTiles; ++t) {
        const float x = ptx::exp2_approx(s[t][2 * half] - shift), y = ptx::exp2_approx(s[t][2 * half + 1] - shift);
        sum += x + y;
        const uint32_t to = weights_.at(row, score_n() * S::kScoreTiles + t) + lane_ % 4 * 4 - query_.address;
        *reinterpret_cast<uint32_t*>(memory_ + to) = ptx::pack_bf16(x, y);
      }
      most_[half] = most, total_[half] = fmaf(total_[half], factor, sum);
    }
  }

  // --- the weighted sum ---

  __device__ int sum_row(int m, int half) const { return (warp_ / S::kSumN * S::kSumTiles + m) * 16 + lane_ / 4 + 8 * half; }
  __device__ int sum_column(int t) const { return warp_ % S::kSumN * S::kSumColumns + t * 8 + lane_ % 4 * 2; }

  __device__ void rescale() {
#pragma unroll
    for (int m = 0; m < S::kSumTiles; ++m) {
      const float factor[2] = {small_.factor[sum_row(m, 0)], small_.factor[sum_row(m, 1)]};
      if (!__any_sync(0xffffffffu, factor[0] != 1 || factor[1] != 1)) continue;
#pragma unroll
      for (auto& tile : sums_[m])
#pragma unroll
        for (int e = 0; e < 4; ++e) tile[e] *= factor[e / 2];
    }
  }
  __device__ void add(const Tile<kChunks>& keys) {
    const int row = warp_ / S::kSumN * S::kSumTiles * 16, chunk = warp_ % S::kSumN * S::kSumColumns / 8;
#pragma unroll
    for (int k = 0; k < kBlock / 16; ++k) {
      uint32_t a[S::kSumTiles][4];
#pragma unroll
      for (int m = 0; m < S::kSumTiles; ++m) weights_.load_a(a[m], row + m * 16, k, lane_);
#pragma unroll
      for (int t = 0; t < S::kSumColumns / 8; t += 2) {
        uint32_t b[4];
        keys.load_b_transposed(b, k, chunk + t, lane_);
#pragma unroll
        for (int m = 0; m < S::kSumTiles; ++m) {
          ptx::mma_m16n8k16_bf16(sums_[m][t], a[m], b[0], b[1]);
          ptx::mma_m16n8k16_bf16(sums_[m][t + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  // --- a block of keys ---

  __device__ void step(int64_t b) {
    constexpr bool kTwoPlaces = kAhead && !kFp8;
    const bool more = b + 1 < end_;
    if (kTwoPlaces && more) start(b + 1), ptx::cp_async_wait<1>();
    else ptx::cp_async_wait<0>();
    if constexpr (kFp8) {
      if (kAhead) __syncthreads();  // the rows are there
      widen(b);
    }
    __syncthreads();
    if (kFp8 && kAhead && more) start(b + 1);
    const char* key = find_key(b + 2);  // on its way while this block is computed
    float s[S::kScoreTiles][4];
    scores(place(b), s);
    mask(b, s);
    __syncthreads();
    weigh(s);
    __syncthreads();
    rescale();
    add(place(b));
    put_keys(b + 2, key);
    __syncthreads();
    if (!kAhead && !kFp8 && more) start(b + 1);
  }

  // --- results ---

  __device__ void finish() {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float total = row_sum(total_[half]);
      if (lane_ % 4 == 0) small_.reduced[score_n()][score_row(half)] = total;
      if (score_n() == 0 && lane_ % 4 == 0) small_.most[score_row(half)] = most_[half];
    }
    __syncthreads();
#pragma unroll
    for (int m = 0; m < S::kSumTiles; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        if (work_.has(c_, sum_row(m, half))) store_row(m, half);
    if (thread_ < kRows && work_.has(c_, thread_)) store_log(thread_);
  }
  __device__ float total_of(int row) const {
    float total = 0;
#pragma unroll
    for (int n = 0; n < S::kScoreN; ++n) total += small_.reduced[n][row];
    return total;
  }
  __device__ int64_t part_of(int row) const {
    return ((work_.token + work_.token_of(row)) * c_.heads + work_.head_of(row)) * c_.cut.splits + work_.split;
  }
  __device__ void store_row(int m, int half) {
    const int row = sum_row(m, half);
    const float inverse = inverse_of(total_of(row));
    const bool whole = c_.cut.splits == 1, wide = !whole || c_.o_is_f32;
    char* out = whole ? c_.o + (work_.token + work_.token_of(row)) * c_.o_row + work_.head_of(row) * c_.o_head
                      : reinterpret_cast<char*>(c_.part_o + part_of(row) * kLatent);
#pragma unroll
    for (int t = 0; t < S::kSumColumns / 8; ++t) {
      const float x = sums_[m][t][2 * half] * inverse, y = sums_[m][t][2 * half + 1] * inverse;
      if (wide) *reinterpret_cast<float2*>(out + sum_column(t) * 4) = make_float2(x, y);
      else *reinterpret_cast<uint32_t*>(out + sum_column(t) * 2) = ptx::pack_bf16(x, y);
    }
  }
  __device__ void store_log(int row) {
    const float log = log2_of(small_.most[row], total_of(row));
    if (c_.cut.splits > 1) c_.part_lse[part_of(row)] = log;
    else if (c_.lse) c_.lse[(work_.token + work_.token_of(row)) * c_.lse_row + work_.head_of(row) * c_.lse_head] = log * c_.to_base;
  }

  const Call& c_;
  const Work work_;
  char* const memory_;
  Small& small_;
  const Tile<kChunks> query_, keys_;
  const Tile<kBlock / 8> weights_;
  const int thread_, lane_, warp_;
  int64_t begin_, end_, limit_[2];                          // blocks of keys; entries that the thread's rows of scores see
  float most_[2] = {-INFINITY, -INFINITY}, total_[2] = {};  // of those rows; total: of the thread's keys
  float sums_[S::kSumTiles][S::kSumColumns / 8][4] = {};
};

template <int kRows, bool kAhead, bool kFp8>
__global__ void __launch_bounds__(kThreads, 1) mla_decode_mma_kernel(const __grid_constant__ Call c) {
  extern __shared__ __align__(128) char memory[];
  wait_for_previous_kernel();
  Attention<kRows, kAhead, kFp8>(c, memory).run();
}

// --- the host's side ---

// Bytes of shared memory of the kernel of these rows.
int shared_bytes(int rows, bool ahead, bool fp8) {
  const auto of = [&]<int kRows>() {
    if (fp8) return ahead ? Shape<kRows, true, true>::kBytes : Shape<kRows, false, true>::kBytes;
    return ahead ? Shape<kRows, true, false>::kBytes : Shape<kRows, false, false>::kBytes;
  };
  return rows == 64 ? of.template operator()<64>() : rows == 32 ? of.template operator()<32>() : of.template operator()<16>();
}

Cut cut_of(const Context& ctx, const MlaDecodeArgs& a) {
  const int64_t wanted = a.q_nope.dim(1) * mla_decode_rows_each(a);
  int rows = wanted > 32 ? 64 : wanted > 16 ? 32 : 16;
  while (rows > 16 && size_t(shared_bytes(rows, false, mla_fp8(a))) > ctx.gpu->shared_memory) rows /= 2;
  return cut_call(a, rows, ctx.gpu->sms);
}

template <int kRows>
Status launch_rows(const Context& ctx, const Call& call, bool fp8) {
  const bool ahead = size_t(shared_bytes(kRows, true, fp8)) <= ctx.gpu->shared_memory;
  const LaunchShape shape{
      .grid = unsigned(call.cut.blocks()), .block = kThreads, .shared = size_t(shared_bytes(kRows, ahead, fp8)), .dependent = true};
  if (fp8)
    return ahead ? launch(ctx, mla_decode_mma_kernel<kRows, true, true>, shape, call)
                 : launch(ctx, mla_decode_mma_kernel<kRows, false, true>, shape, call);
  return ahead ? launch(ctx, mla_decode_mma_kernel<kRows, true, false>, shape, call)
               : launch(ctx, mla_decode_mma_kernel<kRows, false, false>, shape, call);
}

}  // namespace

size_t mla_decode_mma_workspace(const Context& ctx, const MlaDecodeArgs& a) { return workspace_of(cut_of(ctx, a), a); }

Status mla_decode_cuda_mma(Context& ctx, const MlaDecodeArgs& a, std::byte* scratch) {
  const Cut cut = cut_of(ctx, a);
  const Call call = make_call(a, cut, scratch);
  if (std::max(cut.blocks(), call.tokens * call.heads) > INT_MAX)
    return {Code::kUnsupported, "mla_decode: more rows than a grid has blocks"};
  const bool fp8 = mla_fp8(a);
  SLUICE_RETURN_IF_ERROR(cut.rows == 64   ? launch_rows<64>(ctx, call, fp8)
                         : cut.rows == 32 ? launch_rows<32>(ctx, call, fp8)
                                          : launch_rows<16>(ctx, call, fp8));
  return merge_stretches(ctx, call);
}

}  // namespace sluice
