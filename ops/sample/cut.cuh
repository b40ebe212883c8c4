// Where top_k and top_p cut a row, by a block that has it for itself: exactly, in order of (z down, id up). A range of z that holds
// the cut is narrowed, by histograms, until its tokens fit a list, which is sorted; or until all of them are equal.
#pragma once

#include "ops/sample/row.cuh"

namespace sluice::sampling {

// What a run of best tokens must have.
struct Enough {
  double weight;
  uint32_t count;
  __device__ bool operator()(double w, uint32_t c) const { return w >= weight || c >= count; }
};

struct Cut {
  Kept kept;
  double weight;  // of all that is kept
};

// Tokens among which a cut lies, and what comes before them.
struct Range {
  Key low = kNeverKey + 1, high = kMostKey;
  int bin = -1;  // of the row's histogram; -1: of any
  double weight = 0;
  uint32_t count = 0;
};

struct CutMemory {
  union {
    uint64_t list[kMostListed];  // key, then ~id: in order of tokens as integers down
    Bins bins;
    uint32_t ties[kMostGroups];
  };
  Key max[kMostGroups];
  BlockMemory block;
  Range range;  // where the cut lies, once a histogram has it
  Cut cut;
  int listed;
};

__device__ inline void add_to_bin(Bins& bins, int bin, uint64_t weight) {
  auto* word = reinterpret_cast<uint32_t*>(&bins.weight[bin]);  // shared memory adds 32 bits at a time
  const uint32_t low = uint32_t(weight), before = atomicAdd(&word[0], low);
  atomicAdd(&word[1], uint32_t(weight >> 32) + (before + low < low));
  atomicAdd(&bins.count[bin], 1u);
}
// A weight relative to its bin's upper end.
__device__ inline uint64_t bin_weight(double depth, int bin) {
  return __double2ull_rn(exp((double(bin) - depth) * (1.0 / kBinsPerT)) * double(uint64_t(1) << kBinPoint));
}
__device__ inline double weight_of_bin(uint64_t sum, int bin) {
  return double(sum) * exp(double(-bin) / kBinsPerT) / double(uint64_t(1) << kBinPoint);
}
__device__ inline void clear_bins(Bins& bins) {
  for (int i = int(threadIdx.x); i < kBins; i += int(blockDim.x)) bins.weight[i] = 0, bins.count[i] = 0;
  __syncthreads();
}

// Adds a group's tokens to the row's histogram.
__device__ inline void add_group(const Row& row, const Scale& scale, int group, Bins& bins) {
  float z[kOfLane];
  row.load(group, z);
#pragma unroll
  for (int i = 0; i < kOfLane; ++i) {
    if (key_of(z[i]) <= kNeverKey) continue;
    const double depth = scale.depth(z[i]);
    const int bin = bin_of(depth);
    add_to_bin(bins, bin, bin_weight(depth, bin));
  }
}

class Cutter {
 public:
  __device__ Cutter(const View& v, int64_t b, Scale scale, CutMemory& m)
      : v_(v), b_(b), row_(v, b), scale_(scale), m_(m), start_(start_of(v.row(b).params, v.vocab, v.groups)) {}

  // All threads call, and all get it.
  __device__ Cut find(Enough enough) {
    if (sorted_) return cut_list({}, enough);  // the last search was over all that may be kept
    Range range;
    if (start_ == Start::kBestGroups) range.low = max(bar(), kNeverKey + 1);
    if (start_ == Start::kBins) {
      if (!bins_ready_) copy_bins();
      if (!narrow_to_bin(range, enough)) return m_.cut;
    }
    for (;;) {
      const Found found = list(range);
      if (found.count <= kMostListed) {
        sort(m_.listed);
        sorted_ = range.bin < 0;
        return cut_list(range, enough);
      }
      if (found.least == found.most) return cut_ties(range, found, enough);
      if (range.bin < 0) fill_bins();
      if (!(range.bin < 0 ? narrow_to_bin(range, enough) : narrow_within_bin(range, found, enough))) return m_.cut;
    }
  }

 private:
  struct Found {
    uint32_t count;
    Key least, most;
  };

  __device__ static int t() { return int(threadIdx.x); }
  __device__ static int warps() { return int(blockDim.x) / kWarp; }

  // The k-th best of the groups' maxima.
  __device__ Key bar() {
    const uint64_t mine = t() < v_.groups ? rank_of_group(m_.max[t()], t()) : 0;
    return Key(rank_of_best(mine, v_.row(b_).params.top_k) / kMostGroups);
  }

  // Calls f(key, depth, id) for each token of a range, by whichever thread.
  template <class F>
  __device__ void each_token(const Range& range, F&& f) const {
    const auto has = [&](int g) { return g < v_.groups && m_.max[g] >= range.low; };
    for (int g = warp(); g < v_.groups; g += 2 * warps()) {
      float z[2][kOfLane];  // both on their way at once
#pragma unroll
      for (int i = 0; i < 2; ++i)
        if (has(g + i * warps())) row_.load(g + i * warps(), z[i]);
#pragma unroll
      for (int i = 0; i < 2; ++i)
        if (has(g + i * warps())) each_token_of(g + i * warps(), z[i], range, f);
    }
  }
  template <class F>
  __device__ void each_token_of(int group, const float (&z)[kOfLane], const Range& range, F& f) const {
#pragma unroll
    for (int i = 0; i < kOfLane; ++i) {
      const Key key = key_of(z[i]);
      if (key < range.low || key > range.high) continue;
      const double depth = scale_.depth(z[i]);
      if (range.bin < 0 || bin_of(depth) == range.bin) f(key, depth, group * kGroup + place_of(i));
    }
  }

  // The range's tokens, as far as the list has room.
  __device__ Found list(const Range& range) {
    bins_ready_ = false;  // the list takes their place
    __syncthreads();
    if (t() == 0) m_.listed = 0;
    __syncthreads();
    Key least = UINT_MAX, most = 0;
    each_token(range, [&](Key key, double, int id) {
      least = min(least, key), most = max(most, key);
      if (const int at = atomicAdd(&m_.listed, 1); at < kMostListed) m_.list[at] = uint64_t(key) << 32 | ~uint32_t(id);
    });
    least = block_min(least, m_.block), most = block_max(most, m_.block);
    return {uint32_t(m_.listed), least, most};
  }

  // --- histograms ---

  __device__ void copy_bins() {
    __syncthreads();
    const Bins& from = v_.bins[b_];
    bins_ready_ = true;
    for (int i = t(); i < kBins; i += int(blockDim.x)) m_.bins.weight[i] = from.weight[i], m_.bins.count[i] = from.count[i];
    __syncthreads();
  }
  __device__ void fill_bins() {
    __syncthreads();
    clear_bins(m_.bins);
    for (int g = warp(); g < v_.groups; g += warps())
      if (m_.max[g] > kNeverKey) add_group(row_, scale_, g, m_.bins);
    __syncthreads();
  }

  // The first bin with which there is enough, or -1; `range` then has what comes before it, and `cut` the weight up to the last of
  // all. `of_bin`: the bin of the row that bin i is, or is a part of.
  template <class OfBin>
  __device__ int first_with_enough(Range& range, Enough enough, OfBin of_bin) {
    constexpr int kEach = kBins / kMostGroups;  // bins of a thread
    double weight[kEach], of_thread = 0;
    uint32_t count[kEach], count_of_thread = 0;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int bin = t() * kEach + i;
      of_thread += weight[i] = weight_of_bin(m_.bins.weight[bin], of_bin(bin));
      count_of_thread += count[i] = m_.bins.count[bin];
    }
    const Running running = block_scan(of_thread, m_.block), counted = block_scan(double(count_of_thread), m_.block);
    double before = range.weight + running.until - of_thread;
    uint32_t count_before = range.count + uint32_t(counted.until) - count_of_thread;
    uint32_t mine = UINT_MAX;
    Range found = range;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (mine == UINT_MAX && enough(before + weight[i], count_before + count[i]))
        mine = uint32_t(t() * kEach + i), found.weight = before, found.count = count_before;
      before += weight[i], count_before += count[i];
    }
    const uint32_t first = block_min(mine, m_.block);
    if (t() == 0) m_.cut = {{}, range.weight + running.all};
    if (mine == first && first != UINT_MAX) m_.range = found;
    __syncthreads();
    if (first == UINT_MAX) return -1;
    range = m_.range;
    return int(first);
  }

  // False: the cut is where no token will be drawn, or behind all, and everything is kept.
  __device__ bool narrow_to_bin(Range& range, Enough enough) {
    range = {};
    range.bin = first_with_enough(range, enough, [](int bin) { return bin; });
    if (range.bin < 0 || range.bin == kBins - 1) return false;
    // So that few other tokens need more than a comparison. Rounded outwards, since a depth's own error is far below a float's.
    range.high = min(range.high, key_of(__double2float_ru(scale_.at_depth(range.bin))));
    range.low = max(range.low, key_of(__double2float_rd(scale_.at_depth(range.bin + 1))));
    return true;
  }

  // By keys: the bin's tokens in runs of 2^shift neighbouring keys. False: rounding leaves too little, and all of the bin is kept.
  __device__ bool narrow_within_bin(Range& range, const Found& found, Enough enough) {
    const int shift = max(0, 32 - __clz(found.most - found.least) - 11);
    __syncthreads();
    clear_bins(m_.bins);
    each_token(range, [&](Key key, double depth, int) {
      add_to_bin(m_.bins, int((found.most - key) >> shift), bin_weight(depth, range.bin));
    });
    __syncthreads();
    const int part = first_with_enough(range, enough, [&](int) { return range.bin; });
    if (part < 0) {
      if (t() == 0) m_.cut.kept.key = found.least;
      __syncthreads();
      return false;
    }
    range.high = found.most - (uint32_t(part) << shift);
    range.low = max(found.least, range.high - ((1u << shift) - 1));
    return true;
  }

  // --- the end ---

  __device__ Cut cut_list(const Range& range, Enough enough) {
    const int n = m_.listed;
    double before = range.weight;
    for (int first = 0; first < n; first += kMostGroups) {
      const int i = first + t();
      const double weight = i < n ? scale_.weight(value_of(Key(m_.list[i] >> 32))) : 0;
      const Running running = block_scan(weight, m_.block);
      const bool here = i < n && (enough(before + running.until, range.count + uint32_t(i) + 1) || i + 1 == n);
      const uint32_t last = block_min(here ? uint32_t(i) : UINT_MAX, m_.block);
      if (last != UINT_MAX) {
        if (uint32_t(i) == last) m_.cut = {{Key(m_.list[i] >> 32), int32_t(~uint32_t(m_.list[i]))}, before + running.until};
        __syncthreads();
        return m_.cut;
      }
      before += running.all;
    }
    return m_.cut;  // of an empty list: it is never asked for
  }

  // Bitonic, down.
  __device__ void sort(int n) {
    int all = 1;
    while (all < n) all *= 2;
    for (int i = n + t(); i < all; i += int(blockDim.x)) m_.list[i] = 0;
    for (int run = 2; run <= all; run *= 2)
      for (int apart = run / 2; apart > 0; apart /= 2) {
        __syncthreads();
        for (int i = t(); i < all / 2; i += int(blockDim.x)) {
          const int a = 2 * i - (i & (apart - 1)), b = a + apart;
          const bool down = (a & run) == 0;
          const uint64_t x = m_.list[a], y = m_.list[b];
          if ((x < y) == down) m_.list[a] = y, m_.list[b] = x;
        }
      }
    __syncthreads();
  }

  // All tokens of the range are equal: how many are enough, and which id is the last of so many.
  __device__ Cut cut_ties(const Range& range, const Found& found, Enough enough) {
    const double each = scale_.weight(value_of(found.most));
    const double by_weight = ceil((enough.weight - range.weight) / each), by_count = double(enough.count) - double(range.count);
    const double wanted = fmin(fmax(fmin(by_weight, by_count), 1), double(found.count));
    __syncthreads();
    for (int g = warp(); g < kMostGroups; g += warps()) {
      uint32_t ties = 0;
      if (g < v_.groups && m_.max[g] >= found.most) ties = ties_of(g, found.most);
      if (lane() == 0) m_.ties[g] = ties;
    }
    __syncthreads();
    const double mine = m_.ties[t()], until = block_scan(mine, m_.block).until;
    if (until >= wanted && until - mine < wanted) m_.range.count = uint32_t(wanted - (until - mine)), m_.listed = t();
    __syncthreads();
    if (warp() == 0) {
      const int id = tie_of(m_.listed, found.most, int(m_.range.count));
      if (lane() == 0) m_.cut = {{found.most, id}, range.weight + wanted * each};
    }
    __syncthreads();
    return m_.cut;
  }
  __device__ uint32_t ties_of(int group, Key key) const {
    float z[kOfLane];
    row_.load(group, z);
    uint32_t ties = 0;
#pragma unroll
    for (int i = 0; i < kOfLane; ++i) ties += key_of(z[i]) == key;
    return __reduce_add_sync(kAll, ties);
  }
  // The id of a group's n-th token with that key; by a warp, in each lane.
  __device__ int tie_of(int group, Key key, int n) const {
    float z[kOfLane];
    row_.load(group, z);
    double before = 0;
    uint32_t id = UINT_MAX;
#pragma unroll
    for (int half = 0; half < kOfLane; half += 4) {
      int mine = 0;
#pragma unroll
      for (int j = 0; j < 4; ++j) mine += key_of(z[half + j]) == key;
      const double until = before + warp_scan(double(mine));
      int at = int(until) - mine;
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (key_of(z[half + j]) == key && ++at == n) id = uint32_t(group * kGroup + place_of(half + j));
      before = __shfl_sync(kAll, until, kWarp - 1);
    }
    return int(__reduce_min_sync(kAll, id));
  }

  const View& v_;
  int64_t b_;
  Row row_;
  Scale scale_;
  CutMemory& m_;
  Start start_;
  bool sorted_ = false;      // the list has all that may be kept
  bool bins_ready_ = false;  // the row's histogram is in shared memory
};

}  // namespace sluice::sampling
