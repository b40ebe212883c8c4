// Tensor cores for few rows, whose keys and values are read once: a block of threads has up to 16 rows that share a key head (heads
// of its group, and neighbouring tokens as far as there is room). Keys are cut into stretches of 256, always. In a stretch a warp
// takes every fourth 16 keys, through a ring of its own in shared memory, with a softmax of its own; the warps' results are added,
// and stretches in order. A block has one stretch, and a second kernel adds them, or all of them: a row's bits are the same, and
// depend on its own keys alone. Bound by memory where the cache is long.
#include <algorithm>
#include <climits>
#include <cmath>

#include "base/checked.h"
#include "core/cuda/launch.h"
#include "ops/gqa_prefill/forms.h"
#include "ops/mla_decode/tiles.cuh"
#include "ops/mla_prefill/sequences.cuh"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kRows = 16, kKeys = kGqaMmaPage;  // of a tile, and of a warp's step
constexpr int kWarps = 4, kThreads = kWarps * kWarp;
constexpr int kBlockKeys = kWarps * kKeys;
constexpr int kStretch = 256;     // keys, from a multiple of it on: one order of sums for every batch, chunk and prefix
constexpr int kPassColumns = 64;  // in which the warps' sums meet
constexpr int kMostStages = 3;
constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.693147180559945309f;

// Strides in bytes.
struct HeadRows {
  const char* data = nullptr;
  int64_t row = 0, head = 0;

  explicit HeadRows(const Tensor& t)
      : data(static_cast<const char*>(t.data)),
        row(t.stride[0] * int64_t(sizeof(Bf16))),
        head(t.stride[1] * int64_t(sizeof(Bf16))) {}
};
struct Cache {
  const char* data;
  int64_t page, row, head;

  explicit Cache(const Tensor& t) : data(static_cast<const char*>(t.data)) {
    page = t.stride[0] * int64_t(sizeof(Bf16)), row = t.stride[1] * int64_t(sizeof(Bf16)),
    head = t.stride[2] * int64_t(sizeof(Bf16));
  }
};

struct Sequences {
  const int32_t *cu_q, *lengths;  // cu_q null: one row each
  int count;

  __device__ MlaSequence at(int b) const {
    if (!cu_q) return {b, 1, 0, lengths[b]};
    return {cu_q[b], int64_t(cu_q[b + 1]) - cu_q[b], 0, lengths[b]};
  }
};

// What a softmax has seen: the greatest score, in units of log2, and the weights' sum under it.
struct Weight {
  float most, total;
};

struct Call {
  Sequences sequences;
  const int32_t* table;
  int64_t table_row;
  int pages, page;
  Divider by_page;
  HeadRows q, gate, o;  // gate without data: absent
  Cache k, v;
  float* lse;
  int64_t lse_row, lse_head;
  float* part_sums;          // [T, HQ, splits, D], of a stretch
  Weight* part;              // [T, HQ, splits]
  int heads, group, tokens;  // tokens: of a tile, at most
  int head_tiles;            // of a group
  int splits;                // blocks of threads among which stretches are divided: one a stretch, or one for all
  int stages;
  int first_key;
  float scale_log2;
};

// The rows that a block of threads has, and its keys.
struct Work {
  int64_t token = 0;  // the first
  int tokens = 0, first_head = 0, width = 1, kv_head = 0, split = 0, sequence = 0;
  int count = 0, begin = 0, end = 0;  // keys: that the last token sees; of this block

  __device__ explicit Work(const Call& c) {
    uint32_t i = blockIdx.x;
    split = int(i % uint32_t(c.splits)), i /= uint32_t(c.splits);
    const int head_tile = int(i % uint32_t(c.head_tiles));
    i /= uint32_t(c.head_tiles);
    const uint32_t kv_heads = uint32_t(c.heads / c.group);
    kv_head = int(i % kv_heads), i /= kv_heads;
    width = min(c.group, kRows), first_head = kv_head * c.group + head_tile * kRows;
    MlaSequence s{};
    int64_t in_sequence = 0;
    if (c.sequences.cu_q) {
      const MlaTile tile(c.sequences, i, c.tokens);
      if (!tile.found) return;
      sequence = tile.index, s = tile.sequence, in_sequence = tile.begin;
    } else {
      sequence = int(i), s = c.sequences.at(sequence);
    }
    token = s.first_row + in_sequence, tokens = int(min(s.rows - in_sequence, int64_t(c.tokens)));
    count = int(s.keys == 0 ? 0 : s.limit(in_sequence + tokens - 1, true));
    begin = c.splits == 1 ? 0 : min(split * kStretch, count), end = c.splits == 1 ? count : min(begin + kStretch, count);
  }
  __device__ int token_of(int row) const { return row / width; }
  __device__ int head_of(int row) const { return first_head + row % width; }
  __device__ bool has(const Call& c, int row) const { return token_of(row) < tokens && head_of(row) < (kv_head + 1) * c.group; }
  // Keys that a row sees.
  __device__ int limit(int row) const { return count - (tokens - 1 - min(token_of(row), tokens - 1)); }
};

// Where the warps' results of a stretch meet, kPassColumns of their sums at a time.
struct Meeting {
  static constexpr int kPitch = kPassColumns + 8;  // so that rows lie in different banks
  Weight weight[kWarps][kRows];
  float sums[kWarps][kRows][kPitch];
};

template <int kDim>
struct Shape {
  static constexpr int kChunks = kDim / 8;                                           // of 16 bytes
  static constexpr int kTileBytes = kKeys * kDim * 2, kStageBytes = 2 * kTileBytes;  // a step's keys and values
  static constexpr int kQueryBytes = kRows * kDim * 2;
  static constexpr int kRing = kWarps * kStageBytes;  // a stage of each warp
  static constexpr int bytes(int stages) { return kQueryBytes + int(sizeof(Meeting)) + stages * kRing; }
};

// A warp's part.
template <int kDim>
class Warp {
  using S = Shape<kDim>;

 public:
  __device__ Warp(const Call& c, const Work& work, char* query, char* ring)
      : c_(c),
        work_(work),
        query_{ptx::shared_address(query)},
        ring_(ptx::shared_address(ring)),
        lane_(int(threadIdx.x) % kWarp),
        first_(work.begin + int(threadIdx.x) / kWarp * kKeys) {
    steps_ = first_ < work.end ? (work.end - first_ + kBlockKeys - 1) / kBlockKeys : 0;
    for (int half = 0; half < 2; ++half) limit_[half] = work.limit(half * 8 + lane_ / 4);
  }

  // Sends for the first steps' keys and values.
  __device__ void fill() {
    for (int i = 0; i < c_.stages; ++i) copy(i, i);
  }
  // The next stretch.
  __device__ void run() {
    most_[0] = most_[1] = -INFINITY, total_[0] = total_[1] = 0;
#pragma unroll
    for (auto& tile : sums_) tile[0] = tile[1] = tile[2] = tile[3] = 0;
    for (const int end = min(step_ + kStretch / kBlockKeys, steps_); step_ < end; ++step_) {
      wait(c_.stages - 1);
      __syncwarp();  // the other lanes' copies have arrived too
      step(step_, slot_);
      __syncwarp();  // all lanes have read the slot
      copy(step_ + c_.stages, slot_);
      slot_ = slot_ + 1 == c_.stages ? 0 : slot_ + 1;
    }
  }
  __device__ void finish() { wait(0); }

  __device__ void store_weight(Weight (&to)[kRows]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float all = row_sum(total_[half]);
      if (lane_ % 4 == 0) to[half * 8 + lane_ / 4] = {most_[half], all};
    }
  }
  // Sums, not divided, of columns [kPassColumns * pass, ..).
  __device__ void store_sums(int pass, float (&to)[kRows][Meeting::kPitch]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int t = 0; t < kPassColumns / 8; ++t) {
        const float(&sum)[4] = sums_[pass * (kPassColumns / 8) + t];
        *reinterpret_cast<float2*>(&to[half * 8 + lane_ / 4][t * 8 + lane_ % 4 * 2]) =
            make_float2(sum[2 * half], sum[2 * half + 1]);
      }
  }

 private:
  __device__ static void wait(int groups_pending) {
    if (groups_pending == 0) ptx::cp_async_wait<0>();
    else if (groups_pending == 1) ptx::cp_async_wait<1>();
    else ptx::cp_async_wait<2>();
  }

  // Step i's keys and values; zeros behind the stretch. A page holds whole steps.
  __device__ void copy(int i, int slot) {
    if (i < steps_) {
      if (i % kWarp == 0) read_pages(i);
      const int key = first_ + i * kBlockKeys, page = __shfl_sync(0xffffffffu, pages_, i % kWarp);
      const int64_t row = key - int(c_.by_page.divide(uint32_t(key))) * c_.page;
      const int count = page < 0 ? 0 : work_.end - key;
      const auto start = [&](const Cache& cache) {
        return cache.data + max(page, 0) * cache.page + row * cache.row + work_.kv_head * cache.head;
      };
      const Tile<S::kChunks> keys{ring_ + uint32_t(slot * S::kStageBytes)}, values{keys.address + S::kTileBytes};
      const char *k = start(c_.k), *v = start(c_.v);
#pragma unroll 4
      for (int j = lane_; j < kKeys * S::kChunks; j += kWarp) {
        const int r = j / S::kChunks, chunk = j % S::kChunks;
        const bool wanted = r < count;
        ptx::cp_async_16(keys.at(r, chunk), k + (wanted ? r * c_.k.row + chunk * 16 : 0), wanted);
        ptx::cp_async_16(values.at(r, chunk), v + (wanted ? r * c_.v.row + chunk * 16 : 0), wanted);
      }
    }
    ptx::cp_async_commit();  // an empty group keeps the count
  }
  // A lane has the page of step i + lane; -1 for one that is not in the cache.
  __device__ void read_pages(int i) {
    const int key = first_ + (i + lane_) * kBlockKeys;
    pages_ = key < work_.end ? c_.table[work_.sequence * c_.table_row + c_.by_page.divide(uint32_t(key))] : -1;
    if (pages_ >= c_.pages) pages_ = -1;
  }

  __device__ void step(int i, int slot) {
    const Tile<S::kChunks> keys{ring_ + uint32_t(slot * S::kStageBytes)}, values{keys.address + S::kTileBytes};
    float s[2][4] = {};
#pragma unroll 4
    for (int k = 0; k < kDim / 16; ++k) {
      uint32_t a[4], b[4];
      query_.load_a(a, 0, k, lane_), keys.load_b(b, 0, k, lane_);
      ptx::mma_m16n8k16_bf16(s[0], a, b[0], b[1]), ptx::mma_m16n8k16_bf16(s[1], a, b[2], b[3]);
    }
    weigh(first_ + i * kBlockKeys, s);
    uint32_t a[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) a[j] = ptx::pack_bf16(s[j / 2][j % 2 * 2], s[j / 2][j % 2 * 2 + 1]);
#pragma unroll
    for (int t = 0; t < kDim / 8; t += 2) {
      uint32_t b[4];
      values.load_b_transposed(b, 0, t, lane_);
      ptx::mma_m16n8k16_bf16(sums_[t], a, b[0], b[1]), ptx::mma_m16n8k16_bf16(sums_[t + 1], a, b[2], b[3]);
    }
  }

  // Scores to weights; maxima, totals and what was summed so far brought up to date.
  __device__ void weigh(int key, float (&s)[2][4]) {
    float factor[2], shift[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = -INFINITY;
#pragma unroll
      for (int t = 0; t < 2; ++t)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int at = key + t * 8 + lane_ % 4 * 2 + e;
          float& x = s[t][2 * half + e];
          if (at >= limit_[half] || at < c_.first_key) x = -INFINITY;
          most = fmaxf(most, x);
        }
      most = fmaxf(most_[half], row_max(most) * c_.scale_log2);
      shift[half] = shift_of(most), factor[half] = ptx::exp2_approx(most_[half] - shift[half]);
      most_[half] = most, total_[half] *= factor[half];
    }
#pragma unroll
    for (int t = 0; t < 2; ++t)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        s[t][e] = ptx::exp2_approx(fmaf(s[t][e], c_.scale_log2, -shift[e / 2]));
        total_[e / 2] += s[t][e];
      }
    if (!__any_sync(0xffffffffu, factor[0] != 1 || factor[1] != 1)) return;
#pragma unroll
    for (auto& tile : sums_)
#pragma unroll
      for (int e = 0; e < 4; ++e) tile[e] *= factor[e / 2];
  }

  const Call& c_;
  const Work& work_;
  const Tile<S::kChunks> query_;
  const uint32_t ring_;
  const int lane_, first_;  // first_: the warp's first key
  int steps_, step_ = 0, slot_ = 0, limit_[2], pages_ = -1;
  float most_[2], total_[2], sums_[kDim / 8][4];  // of a stretch
};

__device__ inline float sigmoid(float x) { return 1 / (1 + __expf(-x)); }

__device__ void store_lse(const Call& c, int64_t token, int head, const Weight& all) {
  if (c.lse) c.lse[token * c.lse_row + head * c.lse_head] = log2_of(all.most, all.total) * kLn2;
}

// Four columns of a row of o from `column` on, times the gate.
__device__ void store_o(const Call& c, int64_t token, int head, int column, float4 x) {
  if (c.gate.data) {
    const uint2 g = *reinterpret_cast<const uint2*>(c.gate.data + token * c.gate.row + head * c.gate.head + column * 2);
    x.x *= sigmoid(__uint_as_float(g.x << 16)), x.y *= sigmoid(__uint_as_float(g.x & 0xffff0000u));
    x.z *= sigmoid(__uint_as_float(g.y << 16)), x.w *= sigmoid(__uint_as_float(g.y & 0xffff0000u));
  }
  *reinterpret_cast<uint2*>(const_cast<char*>(c.o.data) + token * c.o.row + head * c.o.head + column * 2) =
      make_uint2(ptx::pack_bf16(x.x, x.y), ptx::pack_bf16(x.z, x.w));
}

// A sum over stretches, one after the other: what it has to be multiplied by, and what the next stretch's sums.
struct Factors {
  float old, next;

  __device__ Factors(float most, float next_most) {
    const float shift = shift_of(fmaxf(most, next_most));
    old = ptx::exp2_approx(most - shift), next = ptx::exp2_approx(next_most - shift);
  }
  __device__ float add(float sum, float x) const { return fmaf(x, next, sum * old); }
  __device__ float4 add(float4 sum, float4 x) const {
    return make_float4(add(sum.x, x.x), add(sum.y, x.y), add(sum.z, x.z), add(sum.w, x.w));
  }
};

// A row's sums as the stretches come: eight threads have it, and each four columns of every 32.
template <int kDim>
class Row {
  static constexpr int kThreadsOfRow = kThreads / kRows, kStep = kThreadsOfRow * 4, kPasses = kDim / kPassColumns;
  static constexpr int kOfPass = kPassColumns / kStep;

 public:
  // The warps' results of a stretch. All threads of the block call it.
  __device__ void add(const Warp<kDim>& part, Meeting& met) {
    const int warp = int(threadIdx.x) / kWarp;
    part.store_weight(met.weight[warp]);
    float weight[kWarps];
    const Weight before = all_;
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      part.store_sums(pass, met.sums[warp]);
      __syncthreads();
      if (pass == 0) add_weights(met, weight);
      const Factors factors(before.most, stretch_.most);
#pragma unroll
      for (int i = 0; i < kOfPass; ++i) {
        float4 x = make_float4(0, 0, 0, 0);
#pragma unroll
        for (int w = 0; w < kWarps; ++w) {
          const float4 more = *reinterpret_cast<const float4*>(&met.sums[w][row()][i * kStep + first_column()]);
          x.x = fmaf(more.x, weight[w], x.x), x.y = fmaf(more.y, weight[w], x.y);
          x.z = fmaf(more.z, weight[w], x.z), x.w = fmaf(more.w, weight[w], x.w);
        }
        float4& sum = sums_[pass * kOfPass + i];
        sum = factors.add(sum, x);
      }
      __syncthreads();  // the place is used again
    }
    all_.total = Factors(before.most, stretch_.most).add(before.total, stretch_.total);
    all_.most = fmaxf(before.most, stretch_.most);
  }

  // To memory: as a stretch's, or the result.
  __device__ void store(const Call& c, const Work& work) const {
    if (!work.has(c, row())) return;
    const int64_t token = work.token + work.token_of(row());
    const int head = work.head_of(row());
    if (c.splits > 1) {
      const int64_t part = (token * c.heads + head) * c.splits + work.split;
      if (threadIdx.x % kThreadsOfRow == 0) c.part[part] = all_;
      if (all_.total == 0) return;  // the merge does not read what nothing was added to
      each_column([&](int column, float4 x) { *reinterpret_cast<float4*>(c.part_sums + part * kDim + column) = x; });
    } else {
      const float inverse = inverse_of(all_.total);
      each_column([&](int column, float4 x) {
        store_o(c, token, head, column, make_float4(x.x * inverse, x.y * inverse, x.z * inverse, x.w * inverse));
      });
      if (threadIdx.x % kThreadsOfRow == 0) store_lse(c, token, head, all_);
    }
  }

 private:
  __device__ static int row() { return int(threadIdx.x) / kThreadsOfRow; }
  __device__ static int first_column() { return int(threadIdx.x) % kThreadsOfRow * 4; }
  // The stretch's maximum and total, and what each warp's sums count for.
  __device__ void add_weights(const Meeting& met, float (&weight)[kWarps]) {
    stretch_ = {-INFINITY, 0};
    for (int w = 0; w < kWarps; ++w) stretch_.most = fmaxf(stretch_.most, met.weight[w][row()].most);
    const float shift = shift_of(stretch_.most);
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      weight[w] = ptx::exp2_approx(met.weight[w][row()].most - shift);
      stretch_.total = fmaf(met.weight[w][row()].total, weight[w], stretch_.total);
    }
  }
  template <class F>
  __device__ void each_column(F&& f) const {
#pragma unroll
    for (int i = 0; i < kDim / kStep; ++i) f(i * kStep + first_column(), sums_[i]);
  }

  Weight all_{-INFINITY, 0}, stretch_;
  float4 sums_[kDim / kStep] = {};
};

template <int kDim>
__global__ void __launch_bounds__(kThreads, kDim == 256 ? 1 : 2) gqa_mma_kernel(const __grid_constant__ Call c) {
  using S = Shape<kDim>;
  extern __shared__ __align__(128) char memory[];
  char *query = memory, *rings = memory + S::kQueryBytes + sizeof(Meeting);
  auto& met = *reinterpret_cast<Meeting*>(memory + S::kQueryBytes);
  const int warp = int(threadIdx.x) / kWarp;
  wait_for_previous_kernel();
  const Work work(c);
  if (work.tokens == 0) return;
  Warp<kDim> part(c, work, query, rings + warp * c.stages * S::kStageBytes);
  part.fill();
  const Tile<S::kChunks> tile{ptx::shared_address(query)};
  for (int j = int(threadIdx.x); j < kRows * S::kChunks; j += kThreads) {
    const int row = j / S::kChunks, chunk = j % S::kChunks;
    uint4 x = {};
    if (work.has(c, row))
      x = *reinterpret_cast<const uint4*>(c.q.data + (work.token + work.token_of(row)) * c.q.row + work.head_of(row) * c.q.head +
                                          chunk * 16);
    *reinterpret_cast<uint4*>(query + (tile.at(row, chunk) - tile.address)) = x;
  }
  __syncthreads();
  Row<kDim> row;
  for (int begin = work.begin; begin < work.end; begin += kStretch) {
    part.run();
    row.add(part, met);
  }
  part.finish();
  row.store(c, work);
}

// A block of threads a row of o, 4 columns a thread; every warp has the weights of 32 stretches, one a lane, and then the next.
template <int kDim>
constexpr int kMergeThreads = std::max(kDim / 4, kWarp);

// The greatest of this lane's and all lower ones', and of `before`; in lane `l` what the lanes below it have.
__device__ inline float most_below(float most, float before, int lane) {
#pragma unroll
  for (int d = 1; d < kWarp; d *= 2) {
    const float lower = __shfl_up_sync(0xffffffffu, most, d);
    if (lane >= d) most = fmaxf(most, lower);
  }
  const float below = __shfl_up_sync(0xffffffffu, most, 1);
  return lane == 0 ? before : fmaxf(before, below);
}

template <int kDim>
__global__ void __launch_bounds__(kMergeThreads<kDim>) gqa_merge_kernel(const __grid_constant__ Call c) {
  wait_for_previous_kernel();
  const int64_t row = blockIdx.x, token = row / c.heads;
  const int head = int(row - token * c.heads), lane = int(threadIdx.x) % kWarp, column = int(threadIdx.x) * 4;
  const Weight* weights = c.part + row * c.splits;
  const float* sums = c.part_sums + row * c.splits * kDim + column;
  Weight all{-INFINITY, 0};
  float4 sum = make_float4(0, 0, 0, 0);
  for (int first = 0; first < c.splits; first += kWarp) {
    const Weight mine = first + lane < c.splits ? weights[first + lane] : Weight{-INFINITY, 0};
    const float before = most_below(mine.most, all.most, lane);
    const Factors mine_factors(before, mine.most);
    const int count = min(c.splits - first, kWarp);
#pragma unroll 8
    for (int i = 0; i < count; ++i) {
      Factors factors = mine_factors;
      factors.old = __shfl_sync(0xffffffffu, factors.old, i), factors.next = __shfl_sync(0xffffffffu, factors.next, i);
      const float total = __shfl_sync(0xffffffffu, mine.total, i);
      float4 x = make_float4(0, 0, 0, 0);
      if (total != 0 && column < kDim) x = *reinterpret_cast<const float4*>(sums + int64_t(first + i) * kDim);
      sum = factors.add(sum, x), all.total = factors.add(all.total, total);
    }
    all.most = __shfl_sync(0xffffffffu, fmaxf(before, mine.most), kWarp - 1);
  }
  const float inverse = inverse_of(all.total);
  if (column < kDim)
    store_o(c, token, head, column, make_float4(sum.x * inverse, sum.y * inverse, sum.z * inverse, sum.w * inverse));
  if (threadIdx.x == 0) store_lse(c, token, head, all);
}

// How a call is cut.
struct Cut {
  int tokens, head_tiles, splits;
  int64_t tiles;  // of a key head's
};

// Blocks of threads for each stretch, or one for all of them: whichever takes less time, in units of 64 keys, and the first only
// where its results do not take much memory.
int splits_of(int64_t blocks, int64_t stretches, size_t part_bytes, int sms) {
  constexpr int64_t kSteps = kStretch / kBlockKeys, kEnds = 2, kMerge = 2;
  constexpr size_t kMostBytes = size_t(256) << 20;
  const int64_t whole = ceil_div(blocks, int64_t(sms)) * (stretches * kSteps + kEnds);
  const int64_t split = ceil_div(blocks * stretches, int64_t(sms)) * (kSteps + kEnds) + kMerge + stretches / 16;
  return split < whole && part_bytes <= kMostBytes && stretches <= INT_MAX ? int(stretches) : 1;
}

size_t part_bytes(const GqaArgs& a, int64_t splits) {
  return splits > 1 ? size_t(a.q.dim(0) * a.q.dim(1) * splits) * (size_t(a.q.dim(2)) * sizeof(float) + sizeof(Weight)) : 0;
}

Cut cut_call(const Context& ctx, const GqaArgs& a) {
  const int64_t group = a.q.dim(1) / a.k_cache.dim(2), T = a.q.dim(0);
  const int64_t stretches = ceil_div(a.block_table.dim(1) * a.k_cache.dim(1), int64_t(kStretch));
  Cut cut{.tokens = int(std::max<int64_t>(kRows / group, 1)), .head_tiles = int(ceil_div(group, int64_t(kRows)))};
  // Every sequence may end with a tile that is not full.
  cut.tiles = a.cu_seqlens.present() ? std::min(T, ceil_div(T, int64_t(cut.tokens)) + a.seq_lens.dim(0)) : T;
  if (!a.cu_seqlens.present()) cut.tokens = 1;
  cut.splits = splits_of(cut.tiles * cut.head_tiles * a.k_cache.dim(2), stretches, part_bytes(a, stretches), ctx.gpu->sms);
  return cut;
}

template <int kDim>
Status launch_dim(const Context& ctx, const GqaArgs& a, Call c, const Cut& cut) {
  using S = Shape<kDim>;
  const int64_t blocks = cut.tiles * cut.head_tiles * a.k_cache.dim(2) * cut.splits;
  if (blocks > INT_MAX) return {Code::kUnsupported, "more tiles of rows and heads than fit 31 bits"};
  const int64_t room = (int64_t(ctx.gpu->shared_memory) - S::bytes(0)) / S::kRing;
  c.stages = int(std::clamp<int64_t>(room, 1, kMostStages));
  SLUICE_RETURN_IF_ERROR(
      launch(ctx, gqa_mma_kernel<kDim>,
             {.grid = unsigned(blocks), .block = kThreads, .shared = size_t(S::bytes(c.stages)), .dependent = true}, c));
  if (cut.splits == 1) return {};
  return launch(ctx, gqa_merge_kernel<kDim>,
                {.grid = unsigned(a.q.dim(0) * a.q.dim(1)), .block = kMergeThreads<kDim>, .dependent = true}, c);
}

}  // namespace

size_t gqa_cuda_mma_workspace(const Context& ctx, const GqaArgs& a) { return part_bytes(a, cut_call(ctx, a).splits); }

Status gqa_cuda_mma(Context& ctx, const GqaArgs& a, std::byte* scratch) {
  if (a.q.numel() == 0) return {};
  const Cut cut = cut_call(ctx, a);
  auto* sums = reinterpret_cast<float*>(scratch);
  const Call c{.sequences = {a.cu_seqlens.present() ? a.cu_seqlens.as<int32_t>() : nullptr, a.seq_lens.as<int32_t>(),
                             int(a.seq_lens.dim(0))},
               .table = a.block_table.as<int32_t>(),
               .table_row = a.block_table.stride[0],
               .pages = int(a.k_cache.dim(0)),
               .page = int(a.k_cache.dim(1)),
               .by_page = Divider(a.k_cache.dim(1)),
               .q = HeadRows(a.q),
               .gate = HeadRows(a.gate),
               .o = HeadRows(a.o),
               .k = Cache(a.k_cache),
               .v = Cache(a.v_cache),
               .lse = a.lse.present() ? a.lse.as<float>() : nullptr,
               .lse_row = a.lse.stride[0],
               .lse_head = a.lse.stride[1],
               .part_sums = sums,
               .part = reinterpret_cast<Weight*>(sums + (cut.splits > 1 ? a.q.numel() * cut.splits : 0)),
               .heads = int(a.q.dim(1)),
               .group = int(a.q.dim(1) / a.k_cache.dim(2)),
               .tokens = cut.tokens,
               .head_tiles = cut.head_tiles,
               .splits = cut.splits,
               .stages = 1,
               .first_key = int(a.first_key),
               .scale_log2 = a.scale * kLog2E};
  if (a.q.dim(2) == 64) return launch_dim<64>(ctx, a, c, cut);
  if (a.q.dim(2) == 128) return launch_dim<128>(ctx, a, c, cut);
  return launch_dim<256>(ctx, a, c, cut);
}

}  // namespace sluice
