// Two kernels. A warp reads a group of 256 logits once, for its maximum, its part of the sum and how many are above the token's.
// Then a block a row adds up the groups, a thread each, and looks for the best tokens in the groups with the best maxima.
#include "base/checked.h"
#include "ops/sample/groups.cuh"
#include "ops/token_logprobs/forms.h"

namespace sluice {
namespace {

using namespace cuda;
using namespace logits;

constexpr int kScanThreads = 256, kScanWarps = kScanThreads / kWarp;
constexpr int kMostListed = kMostTokenLogprobs * kGroup;  // tokens of the best groups

struct GroupResult {
  Key max;  // kNanKey where a logit is not finite
  Mass mass;
  uint32_t above;
};

struct View {
  const float* logits;
  int64_t stride;
  int vocab, groups;
  const int32_t *ids, *counts;
  float* logprobs;
  int32_t* ranks;
  int32_t* best_ids;
  float* best_logprobs;
  int64_t best_ids_stride, best_logprobs_stride;
  int best;
  GroupResult* group;  // [R, groups]

  __device__ const float* row(int64_t r) const { return logits + r * stride; }
  // -1 for ids that are none of the row's.
  __device__ int id(int64_t r) const { return ids[r] >= 0 && ids[r] < vocab ? ids[r] : -1; }
};

template <int kGroups>
__global__ void __launch_bounds__(kScanThreads) token_logprobs_scan_kernel(const __grid_constant__ View v) {
  wait_for_previous_kernel();
  const int64_t r = blockIdx.x;
  const int first = (int(blockIdx.y) * kScanWarps + warp()) * kGroups;
  float x[kGroups][kOfLane];
#pragma unroll
  for (int i = 0; i < kGroups; ++i) load_group(v.row(r), v.vocab, first + i, x[i]);
  const int id = v.id(r);
  const float than = id < 0 ? INFINITY : v.row(r)[id];
#pragma unroll
  for (int i = 0; i < kGroups; ++i) {
    const int g = first + i;
    if (g >= v.groups) return;
    uint32_t above = 0;
#pragma unroll
    for (int j = 0; j < kOfLane; ++j) above += x[i][j] > than;
    const bool bad = any_not_finite(x[i], v.vocab, g);
    const Key max = group_max(x[i]);
    const GroupResult result{bad ? kNanKey : max, group_mass(x[i], value_of(max)), __reduce_add_sync(kAll, above)};
    if (lane() == 0) v.group[r * v.groups + g] = result;
  }
}

// Tokens in order of (logit down, id up), as integers down.
__device__ uint64_t rank_of_token(Key key, int id) { return uint64_t(key) << 32 | ~uint32_t(id); }

struct Listed {
  uint64_t rank[kMostListed];
  int count;
};

// All tokens of the groups from `least` on that are as good as the last of those groups' maxima.
__device__ void list_best(const View& v, int64_t r, uint64_t least, Listed& list, BlockMemory& m) {
  __shared__ int group[kMostTokenLogprobs];
  __shared__ int groups;
  if (threadIdx.x == 0) list.count = 0, groups = 0;
  __syncthreads();
  const int g = int(threadIdx.x);
  if (g < v.groups && rank_of_group(v.group[r * v.groups + g].max, g) >= least) group[atomicAdd(&groups, 1)] = g;
  __syncthreads();
  const Key bar = max(Key(least / kMostGroups), kNeverKey + 1);
  for (int i = warp(); i < groups; i += int(blockDim.x) / kWarp) {
    float x[kOfLane];
    load_group(v.row(r), v.vocab, group[i], x);
#pragma unroll
    for (int j = 0; j < kOfLane; ++j)
      if (const Key key = key_of(x[j]); key >= bar)
        list.rank[atomicAdd(&list.count, 1)] = rank_of_token(key, group[i] * kGroup + place_of(j));
  }
  __syncthreads();
}

__global__ void __launch_bounds__(kMostGroups) token_logprobs_finish_kernel(const __grid_constant__ View v) {
  __shared__ BlockMemory m;
  __shared__ Listed list;
  wait_for_previous_kernel();
  const int64_t r = blockIdx.x;
  const int t = int(threadIdx.x), id = v.id(r);
  const GroupResult mine = t < v.groups ? v.group[r * v.groups + t] : GroupResult{kNoKey, {-INFINITY, 0}, 0};
  const Key most = block_max(mine.max, m);
  const bool finite = most <= kMostKey, known = finite && id >= 0;
  const float max = value_of(most);
  const double log_sum = log_of_sum(mine.mass, max, m);
  const auto logprob = [&](float logit) { return float(double(logit) - double(max) - log_sum); };
  const uint32_t above = block_sum(mine.above, m);
  if (t == 0) v.logprobs[r] = known ? logprob(v.row(r)[id]) : NAN, v.ranks[r] = known ? int32_t(above) + 1 : 0;
  if (v.best == 0) return;
  const int wanted = finite ? min(v.counts[r], v.best) : 0;
  int32_t* best_ids = v.best_ids + r * v.best_ids_stride;
  float* best_logprobs = v.best_logprobs + r * v.best_logprobs_stride;
  if (t < v.best && t >= min(wanted, v.vocab)) best_ids[t] = -1, best_logprobs[t] = NAN;
  if (wanted <= 0) return;
  list_best(v, r, rank_of_best(t < v.groups ? rank_of_group(mine.max, t) : 0, wanted), list, m);
  for (int i = t; i < list.count; i += kMostGroups) {
    const uint64_t rank = list.rank[i];
    int before = 0;
    for (int j = 0; j < list.count && before < wanted; ++j) before += list.rank[j] > rank;
    if (before < wanted) best_ids[before] = int32_t(~uint32_t(rank)), best_logprobs[before] = logprob(value_of(Key(rank >> 32)));
  }
}

}  // namespace

Can token_logprobs_cuda_can(const TokenLogprobsArgs& a) {
  return a.logits.shape[1] <= kMostVocab ? Can{} : Can::no("it serves vocabularies of up to 262144 tokens");
}

size_t token_logprobs_cuda_workspace(const Context&, const TokenLogprobsArgs& a) {
  return size_t(a.logits.shape[0]) * size_t(groups_of(a.logits.shape[1])) * sizeof(GroupResult);
}

Status token_logprobs_cuda(Context& ctx, const TokenLogprobsArgs& a, std::byte* scratch) {
  const int64_t R = a.logits.shape[0], V = a.logits.shape[1];
  View v{.logits = static_cast<const float*>(a.logits.data),
         .stride = a.logits.stride[0],
         .vocab = int(V),
         .groups = groups_of(V),
         .ids = static_cast<const int32_t*>(a.ids.data),
         .logprobs = static_cast<float*>(a.logprobs.data),
         .ranks = static_cast<int32_t*>(a.ranks.data),
         .group = reinterpret_cast<GroupResult*>(scratch)};
  if (a.counts.present()) {
    v.counts = static_cast<const int32_t*>(a.counts.data), v.best = int(a.best_ids.shape[1]);
    v.best_ids = static_cast<int32_t*>(a.best_ids.data), v.best_ids_stride = a.best_ids.stride[0];
    v.best_logprobs = static_cast<float*>(a.best_logprobs.data), v.best_logprobs_stride = a.best_logprobs.stride[0];
  }
  const auto scan = [&]<int kGroups>() {
    const int64_t blocks = ceil_div(v.groups, kScanWarps * kGroups);
    return launch(ctx, token_logprobs_scan_kernel<kGroups>,
                  {.grid = dim3(unsigned(R), unsigned(blocks)), .block = kScanThreads, .dependent = true}, v);
  };
  SLUICE_RETURN_IF_ERROR(scans_several(ctx, R, v.groups) ? scan.template operator()<kAtOnce>() : scan.template operator()<1>());
  return launch(ctx, token_logprobs_finish_kernel, {.grid = unsigned(R), .block = kMostGroups, .dependent = true}, v);
}

}  // namespace sluice
