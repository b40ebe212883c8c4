// Passes over a row's groups by all of the GPU, and kernels with a block a row between them; those that no row needs are left out.
//
//   upload -> adjust -> scan -> bins -> cut -> weigh -> finish
//
// Greedy rows need scan and finish alone. Nothing is sorted but the few tokens around a cut.
#include "base/checked.h"
#include "ops/sample/cut.cuh"
#include "ops/sample/forms.h"
#include "ops/sample/penalize.h"
#include "ops/sample/row.cuh"
#include "ops/sample/table.h"

namespace sluice::sampling {
namespace {

using namespace cuda;

constexpr int kPassThreads = 256, kPassWarps = kPassThreads / kWarp;  // of kernels that have a group a warp
constexpr int kBinThreads = 512;

// --- step 1: z of the tokens that are adjusted ---

// Lays one row's lists over it, one after the other.
class Overlay {
 public:
  __device__ Overlay(const View& v, int64_t adjusted)
      : list_(v.adjusted[adjusted]),
        table_(v.table),
        row_(v, list_.row),
        touched_(v.touched + adjusted * v.groups * kWordsOfGroup),
        z_(v.overlay + adjusted * v.vocab) {}

  __device__ void apply(const SamplingParams& p, int words) const {
    for (int i = int(threadIdx.x); i < words; i += int(blockDim.x)) touched_[i] = 0;
    each<int32_t>(list_.allowed, [&](int32_t id) { put(id, row_.x[id]); });
    each<LogitBias>(list_.bias, [&](const LogitBias& add) {
      if (const float z = row_.at(add.id); z != -INFINITY) put(add.id, sample_clamp(z + add.bias));
    });
    each<TokenUse>(list_.used, [&](const TokenUse& use) {
      if (const float z = row_.at(use.id); z != -INFINITY) put(use.id, sample_penalize(z, use, p));
    });
    each<int32_t>(list_.banned, [&](int32_t id) { put(id, -INFINITY); });
  }

 private:
  template <class T, class F>
  __device__ void each(const List& list, F&& f) const {
    __syncthreads();  // behind the list before it
    const T* of_list = reinterpret_cast<const T*>(table_ + list.at);
    for (int64_t i = threadIdx.x; i < list.count; i += blockDim.x) f(of_list[i]);
  }
  __device__ void put(int32_t id, float z) const {
    z_[id] = z;
    atomicOr(&touched_[id / 32], 1u << id % 32);
  }

  const Adjusted& list_;
  const std::byte* table_;
  Row row_;
  uint32_t* touched_;
  float* z_;
};

__global__ void __launch_bounds__(kMostGroups) sample_adjust_kernel(const __grid_constant__ View v) {
  wait_for_previous_kernel();
  Overlay(v, blockIdx.x).apply(v.row(v.adjusted[blockIdx.x].row).params, v.groups * kWordsOfGroup);
}

// --- passes: a group a warp ---

// A warp has kGroups groups in a row: all of them are on their way before the first is looked at.
template <bool kMass, int kGroups>
__global__ void __launch_bounds__(kPassThreads) sample_scan_kernel(const __grid_constant__ View v) {
  wait_for_previous_kernel();
  const int64_t b = blockIdx.x;
  const int first = (int(blockIdx.y) * kPassWarps + warp()) * kGroups;
  float z[kGroups][kOfLane];
#pragma unroll
  for (int i = 0; i < kGroups; ++i) load_group(v.logits_of(b), v.vocab, first + i, z[i]);
  if (v.bins) clear_bins_of_row(v, b);
  const Row row(v, b);
#pragma unroll
  for (int i = 0; i < kGroups; ++i) {
    const int g = first + i;
    if (g >= v.groups) return;
    const int64_t at = b * v.groups + g;
    const bool bad = any_not_finite(z[i], v.vocab, g);
    Key most = group_max(z[i]);
    if constexpr (kMass) {
      const Mass mass = group_mass(z[i], value_of(most));
      if (lane() == 0) v.mass[at] = mass;
    }
    if (row.touched) row.adjust(g, z[i]), most = group_max(z[i]);
    if (lane() == 0) v.max[at] = bad ? kNanKey : most;
  }
}

__global__ void __launch_bounds__(kBinThreads) sample_bins_kernel(const __grid_constant__ View v) {
  __shared__ Bins bins;
  __shared__ BlockMemory m;
  wait_for_previous_kernel();
  const int64_t b = blockIdx.x;
  const SamplingParams p = v.row(b).params;
  if (!cuts(p, v.vocab) || start_of(p, v.vocab, v.groups) != Start::kBins) return;
  const Key most = row_max(v, b, m);
  if (!drawable(most)) return;
  const Scale scale(most, p);
  const Row row(v, b);
  clear_bins(bins);
  const int warps = kBinThreads / kWarp;
  for (int g = int(blockIdx.y) * warps + warp(); g < v.groups; g += int(gridDim.y) * warps)
    if (v.max[b * v.groups + g] > kNeverKey) add_group(row, scale, g, bins);
  __syncthreads();
  for (int i = int(threadIdx.x); i < kBins; i += kBinThreads) {
    if (bins.count[i] == 0) continue;
    atomicAdd(reinterpret_cast<unsigned long long*>(&v.bins[b].weight[i]), bins.weight[i]);
    atomicAdd(&v.bins[b].count[i], bins.count[i]);
  }
}

__global__ void __launch_bounds__(kPassThreads) sample_weigh_kernel(const __grid_constant__ View v) {
  __shared__ BlockMemory m;
  wait_for_previous_kernel();
  const int64_t b = blockIdx.x;
  const SamplingParams p = v.row(b).params;
  if (p.temperature == 0) return;
  const Key most = row_max(v, b, m);
  if (!drawable(most)) return;
  const Scale scale(most, p);
  const Row row(v, b);
  const Filter filter(v, b, scale);
  for (int g = int(blockIdx.y) * kPassWarps + warp(); g < v.groups; g += int(gridDim.y) * kPassWarps) {
    double sum = 0;
    if (filter.may_keep(v.max[b * v.groups + g])) {
      float z[kOfLane];
      double w[kOfLane];
      row.load(g, z);
      filter.weigh(scale, g, z, w);
      sum = warp_sum(((w[0] + w[1]) + (w[2] + w[3])) + ((w[4] + w[5]) + (w[6] + w[7])));
    }
    if (lane() == 0) v.weight[b * v.groups + g] = sum;
  }
}

// --- a block a row, a group a thread ---

__global__ void __launch_bounds__(kMostGroups) sample_cut_kernel(const __grid_constant__ View v) {
  __shared__ CutMemory m;
  wait_for_previous_kernel();
  const int64_t b = blockIdx.x;
  const SamplingParams p = v.row(b).params;
  if (!cuts(p, v.vocab)) return;
  const Key most = row_max(v, b, m.block);
  if (!drawable(most)) return;
  if (int(threadIdx.x) < v.groups) m.max[threadIdx.x] = v.max[b * v.groups + threadIdx.x];
  __syncthreads();
  Cutter cutter(v, b, Scale(most, p), m);
  Cut cut = cutter.find({INFINITY, by_rank(p, v.vocab) ? uint32_t(p.top_k) : UINT_MAX});
  if (p.top_p < 1) cut = cutter.find({double(p.top_p) * cut.weight, UINT_MAX});
  if (threadIdx.x == 0) v.kept[b] = cut.kept;
}

// The first place of a group at which the running weight, from `before` on, passes the target; else the last with a weight. By a
// warp.
__device__ int locate_in_group(const double (&w)[kOfLane], double before, double target) {
  uint32_t first = UINT_MAX, last = 0;
#pragma unroll
  for (int half = 0; half < kOfLane; half += 4) {
    const double mine = (w[half] + w[half + 1]) + (w[half + 2] + w[half + 3]), until = before + warp_scan(mine);
    double running = until - mine;
#pragma unroll
    for (int i = half; i < half + 4; ++i) {
      running += w[i];
      if (w[i] == 0) continue;
      last = uint32_t(place_of(i));
      if (running > target) first = min(first, last);
    }
    before = __shfl_sync(kAll, until, kWarp - 1);
  }
  first = __reduce_min_sync(kAll, first), last = __reduce_max_sync(kAll, last);
  return int(first == UINT_MAX ? last : first);
}

struct FinishMemory {
  BlockMemory block;
  int group, id;
  double before;
};

// The token that u falls on, by the groups' weights.
__device__ int draw(const View& v, int64_t b, Key most, FinishMemory& m) {
  const SamplingParams p = v.row(b).params;
  const int t = int(threadIdx.x);
  const double mine = t < v.groups ? v.weight[b * v.groups + t] : 0;
  const Running running = block_scan(mine, m.block);
  const double target = sample_uniform(p.seed, v.positions[b]) * running.all;
  const uint32_t passing = block_min(mine > 0 && running.until > target ? uint32_t(t) : UINT_MAX, m.block);
  const uint32_t last = block_max(mine > 0 ? uint32_t(t) : 0, m.block);  // where u falls if rounding leaves it past the end
  const int group = int(passing == UINT_MAX ? last : passing);
  if (t == group) m.before = running.until - mine;
  __syncthreads();
  if (warp() == 0) {
    const Scale scale(most, p);
    float z[kOfLane];
    double w[kOfLane];
    Row(v, b).load(group, z);
    Filter(v, b, scale).weigh(scale, group, z, w);
    const int place = locate_in_group(w, m.before, target);
    if (lane() == 0) m.id = group * kGroup + place;
  }
  __syncthreads();
  return m.id;
}

__device__ int first_of_the_largest(const View& v, int64_t b, Key most, FinishMemory& m) {
  const int t = int(threadIdx.x);
  const bool has = t < v.groups && v.max[b * v.groups + t] == most;
  const int group = int(block_min(has ? uint32_t(t) : UINT_MAX, m.block));
  if (warp() == 0) {
    float z[kOfLane];
    Row(v, b).load(group, z);
    uint32_t place = UINT_MAX;
#pragma unroll
    for (int i = kOfLane - 1; i >= 0; --i)
      if (key_of(z[i]) == most) place = uint32_t(place_of(i));
    place = __reduce_min_sync(kAll, place);
    if (lane() == 0) m.id = group * kGroup + int(place);
  }
  __syncthreads();
  return m.id;
}

__global__ void __launch_bounds__(kMostGroups) sample_finish_kernel(const __grid_constant__ View v) {
  __shared__ FinishMemory m;
  wait_for_previous_kernel();
  const int64_t b = blockIdx.x;
  const int t = int(threadIdx.x);
  const Key most = row_max(v, b, m.block);
  int id = most > kMostKey ? kSampleNotFinite : kSampleNothingLeft;
  if (drawable(most)) id = v.row(b).params.temperature == 0 ? first_of_the_largest(v, b, most, m) : draw(v, b, most, m);
  if (t == 0) v.ids[b] = id;
  if (!v.logprobs) return;
  const Mass mine = t < v.groups ? v.mass[b * v.groups + t] : Mass{-INFINITY, 0};
  const float max = value_of(block_max(key_of(mine.max), m.block));
  const double log_sum = log_of_sum(mine, max, m.block);
  if (t == 0) v.logprobs[b] = id < 0 ? NAN : float(double(v.logits_of(b)[id]) - double(max) - log_sum);
}

// --- the host ---

// What rows ask for, and so which kernels run.
struct Needs {
  bool draws = false, cuts = false, bins = false;
};

Needs needs_of(const SampleArgs& a) {
  const int vocab = int(a.logits.shape[1]), groups = groups_of(vocab);
  Needs n;
  for (const SamplingParams& p : a.params) {
    n.draws |= p.temperature > 0;
    if (!cuts(p, vocab)) continue;
    n.cuts = true;
    n.bins |= start_of(p, vocab, groups) == Start::kBins;
  }
  return n;
}

// Gives each array of the workspace its place; with no memory, only counts.
struct Places {
  std::byte* memory;
  size_t used = 0;
  template <class T>
  T* place(int64_t count) {
    T* array = memory ? reinterpret_cast<T*>(memory + used) : nullptr;
    used += size_t(round_up(count * int64_t(sizeof(T)), Arena::kAlignment));
    return array;
  }
};

View view_of(const SampleArgs& a, const Sizes& sizes, const Needs& needs, Places& places) {
  const int64_t B = a.logits.shape[0], V = a.logits.shape[1], G = groups_of(V);
  View v{.logits = static_cast<const float*>(a.logits.data),
         .stride = a.logits.stride[0],
         .vocab = int(V),
         .groups = int(G),
         .positions = static_cast<const int32_t*>(a.positions.data),
         .ids = static_cast<int32_t*>(a.ids.data),
         .logprobs = static_cast<float*>(a.logprobs.data)};
  if (needs.draws || sizes.adjusted > 0) {
    v.table = places.place<std::byte>(sizes.bytes());
    v.adjusted = reinterpret_cast<const Adjusted*>(v.table + sizes.first_adjusted());
  }
  v.touched = places.place<uint32_t>(sizes.adjusted * G * kWordsOfGroup);
  v.overlay = places.place<float>(sizes.adjusted * V);
  v.max = places.place<Key>(B * G);
  v.mass = places.place<Mass>(v.logprobs ? B * G : 0);
  v.weight = places.place<double>(needs.draws ? B * G : 0);
  v.kept = places.place<Kept>(needs.cuts ? B : 0);
  v.bins = places.place<Bins>(needs.bins ? B : 0);
  if (!needs.bins) v.bins = nullptr;
  return v;
}

}  // namespace
}  // namespace sluice::sampling

namespace sluice {

using namespace sampling;

Can sample_cuda_can(const SampleArgs& a) {
  return a.logits.shape[1] <= kMostVocab ? Can{} : Can::no("it serves vocabularies of up to 262144 tokens");
}

size_t sample_cuda_workspace(const Context&, const SampleArgs& a) {
  Places places{nullptr};
  view_of(a, sizes_of(a), needs_of(a), places);
  return places.used;
}

Status sample_cuda(Context& ctx, const SampleArgs& a, std::byte* scratch) {
  using cuda::launch;
  const unsigned B = unsigned(a.logits.shape[0]);
  const Sizes sizes = sizes_of(a);
  const Needs needs = needs_of(a);
  Places places{scratch};
  const View v = view_of(a, sizes, needs, places);
  if (v.table) SLUICE_RETURN_IF_ERROR(upload_table(ctx, a, const_cast<std::byte*>(v.table)));
  if (sizes.adjusted > 0)
    SLUICE_RETURN_IF_ERROR(
        launch(ctx, sample_adjust_kernel, {.grid = unsigned(sizes.adjusted), .block = kMostGroups, .dependent = true}, v));
  const auto pass = [&](int threads, int64_t groups_of_warp, int64_t most) {  // blocks for all groups of all rows, `most` a row
    const int64_t blocks = std::min(ceil_div(v.groups, threads / kWarp * groups_of_warp), most);
    return cuda::LaunchShape{.grid = dim3(B, unsigned(blocks)), .block = unsigned(threads), .dependent = true};
  };
  const cuda::LaunchShape block_a_row{.grid = B, .block = kMostGroups, .dependent = true};
  const auto scan = [&]<int kGroups>() {
    return launch(ctx, v.logprobs ? sample_scan_kernel<true, kGroups> : sample_scan_kernel<false, kGroups>,
                  pass(kPassThreads, kGroups, INT_MAX), v);
  };
  // Enough blocks to fill the GPU a few times.
  const int64_t few = std::max<int64_t>(1, 8 * ctx.gpu->sms / std::max(B, 1u));
  SLUICE_RETURN_IF_ERROR(scans_several(ctx, B, v.groups) ? scan.template operator()<kAtOnce>() : scan.template operator()<1>());
  if (needs.bins) SLUICE_RETURN_IF_ERROR(launch(ctx, sample_bins_kernel, pass(kBinThreads, 1, few), v));
  if (needs.cuts) SLUICE_RETURN_IF_ERROR(launch(ctx, sample_cut_kernel, block_a_row, v));
  if (needs.draws) SLUICE_RETURN_IF_ERROR(launch(ctx, sample_weigh_kernel, pass(kPassThreads, 1, few), v));
  return launch(ctx, sample_finish_kernel, block_a_row, v);
}

}  // namespace sluice
