// From a row's groups to its token: the scalar half of the vector forms. No full sort: a cut looks at a histogram, or halves a
// range of candidates, until a handful are left.
#include "ops/sample/select.h"

#include <algorithm>
#include <cmath>

#include "core/rows.h"
#include "ops/sample/philox.h"

namespace sluice {
namespace {

bool better(const SampleCandidate& a, const SampleCandidate& b) { return a.z != b.z ? a.z > b.z : a.id < b.id; }

double sum_of(const SampleCandidate* c, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += c[i].weight;
  return sum;
}

// Moves the candidates with z >= pivot to the front, adds up their weights and returns their number. Without a branch: at a good
// pivot half of them would be mispredicted.
int64_t split(SampleCandidate* c, int64_t n, float pivot, double& weight) {
  int64_t upper = 0;
  for (int64_t i = 0; i < n; ++i) {
    const SampleCandidate x = c[i];
    c[i] = c[upper], c[upper] = x;
    upper += x.z >= pivot;
    weight += x.z >= pivot ? x.weight : 0;
  }
  return upper;
}

// Moves the shortest run of best candidates that is enough(count, weight) to the front, the worst of them last, and returns its
// length; n if none is. `enough` must stay true once it is. Halves the range of z in question until few or equal ones are left.
template <class Enough>
int64_t cut(SampleCandidate* c, int64_t n, Enough enough) {
  constexpr int64_t kSortAtOnce = 64;
  int64_t begin = 0, end = n;  // the run ends between these
  double before = 0;           // weight of [0, begin)
  while (end - begin > kSortAtOnce) {
    const auto by_z = [](const SampleCandidate& a, const SampleCandidate& b) { return a.z < b.z; };
    const auto [lowest, highest] = std::minmax_element(c + begin, c + end, by_z);
    const float low = lowest->z, high = highest->z, middle = 0.5f * low + 0.5f * high;
    if (low == high) break;
    double weight = before;
    const int64_t mid = begin + split(c + begin, end - begin, middle > low ? middle : high, weight);
    if (enough(mid, weight)) end = mid;
    else begin = mid, before = weight;
  }
  std::sort(c + begin, c + end, better);
  for (int64_t i = begin; i < end; ++i)
    if (enough(i + 1, before += c[i].weight)) return i + 1;
  return end;
}

void weigh(const SampleRowView& row, SampleCandidate* c, int64_t n) {
  float z[kLogitGroup];
  double w[kLogitGroup];
  for (int64_t i = 0; i < n; i += kLogitGroup) {
    const int64_t count = std::min(kLogitGroup, n - i);
    for (int64_t j = 0; j < count; ++j) z[j] = c[i + j].z;
    row.weigh(z, count, 0, {}, row.scale, w);
    for (int64_t j = 0; j < count; ++j) c[i + j].weight = w[j];
  }
}

// All tokens with z >= threshold, in order of id, with their weights.
int64_t collect(const SampleRowView& row, float threshold) {
  int64_t n = 0;
  for (int64_t g = 0; g < row.groups; ++g) {
    if (!(row.group_max[g] >= threshold)) continue;
    const float* z = row.group(g);
    for (int64_t i = 0; i < row.size(g); ++i)
      if (z[i] >= threshold) row.candidate[n++] = {0, z[i], int32_t(g * kLogitGroup + i)};
  }
  weigh(row, row.candidate, n);
  return n;
}

// A finite z that at least k tokens reach, if k have one: the k-th largest of the groups' maxima.
float threshold_of_top_k(const SampleRowView& row, int k) {
  float* memory = reinterpret_cast<float*>(row.candidate);
  std::copy_n(row.group_max, row.groups, memory);
  std::nth_element(memory, memory + (k - 1), memory + row.groups, [](float a, float b) { return a > b; });
  return std::max(memory[k - 1], SampleKept{}.z);
}

// With top_k: the token that u in [0, 1) falls on.
int32_t draw_from_list(const SampleRowView& row, const SamplingParams& p, double u) {
  SampleCandidate* c = row.candidate;
  int64_t n = collect(row, threshold_of_top_k(row, p.top_k));
  n = cut(c, n, [&](int64_t count, double) { return count >= p.top_k; });
  if (p.top_p < 1) {
    const double enough = p.top_p * sum_of(c, n);
    n = cut(c, n, [&](int64_t, double weight) { return weight >= enough; });
  }
  if (p.min_p > 0) n = std::partition(c, c + n, [&](const SampleCandidate& x) { return x.weight >= p.min_p; }) - c;
  std::sort(c, c + n, [](const SampleCandidate& a, const SampleCandidate& b) { return a.id < b.id; });
  const double target = u * sum_of(c, n);
  double running = 0;
  for (int64_t i = 0; i < n; ++i)
    if ((running += c[i].weight) > target) return c[i].id;
  return c[n - 1].id;
}

// The histogram of a row: bins of equal width from the largest z down, the last one without end.
struct Bins {
  const SampleRowView& row;
  double per_z;  // bins

  int64_t of(float z) const { return int64_t(std::min((double(row.scale.max) - z) * per_z, double(kSampleBins - 1))); }

  // Leaves out groups that lie in the last bin altogether.
  void fill() const {
    std::fill_n(row.bins, kSampleBins, SampleBin{});
    double w[kLogitGroup];
    for (int64_t g = 0; g < row.groups; ++g) {
      if (row.group_max[g] < SampleKept{}.z || of(row.group_max[g]) == kSampleBins - 1) continue;
      const float* z = row.group(g);
      row.weigh(z, row.size(g), 0, {}, row.scale, w);
      for (int64_t i = 0; i < row.size(g); ++i) {
        if (z[i] < SampleKept{}.z) continue;
        SampleBin& bin = row.bins[of(z[i])];
        bin.weight += w[i], ++bin.count;
      }
    }
  }
  // All tokens of a bin, in order of id, with their weights.
  int64_t collect(int64_t bin) const {
    // One bin wider on both sides, so that few tokens need more than a comparison and rounding does not matter.
    const double max = row.scale.max, highest = max - double(bin - 1) / per_z, lowest = max - double(bin + 2) / per_z;
    const float high = float(std::min(highest, max)), none = SampleKept{}.z;
    const float low = bin < kSampleBins - 1 ? float(std::max<double>(lowest, none)) : none;
    int64_t n = 0;
    for (int64_t g = 0; g < row.groups; ++g) {
      if (row.group_max[g] < low) continue;
      const float* z = row.group(g);
      for (int64_t i = 0; i < row.size(g); ++i)
        if (z[i] >= low && z[i] <= high && of(z[i]) == bin) row.candidate[n++] = {0, z[i], int32_t(g * kLogitGroup + i)};
    }
    weigh(row, row.candidate, n);
    return n;
  }
};

struct Cut {
  SampleKept kept;
  double weight;  // of what is kept
};

// The shortest run of best tokens that is enough(count, weight); all if none is.
template <class Enough>
Cut find_cut(const SampleRowView& row, double temperature, Enough enough) {
  // Most rows end within e^-12 of the best token's weight; what lies below e^-64 is in the last bin, whatever its z.
  for (const double depth : {12.0, 64.0}) {
    const Bins bins{row, kSampleBins / (depth * temperature)};
    bins.fill();
    int64_t bin = 0, count = 0;
    double weight = 0;
    for (; bin < kSampleBins - 1; ++bin) {
      const SampleBin& b = row.bins[bin];
      if (enough(count + b.count, weight + b.weight)) break;
      count += b.count, weight += b.weight;
    }
    if (bin == kSampleBins - 1 && depth == 12.0) continue;
    const auto enough_in_bin = [&](int64_t more, double more_weight) { return enough(count + more, weight + more_weight); };
    const int64_t n = bins.collect(bin), last = cut(row.candidate, n, enough_in_bin);
    if (last == 0) break;
    const SampleCandidate& worst = row.candidate[last - 1];
    return {{worst.z, worst.id}, weight + sum_of(row.candidate, last)};
  }
  return {{}, row.total()};
}

void weigh_groups(const SampleRowView& row, const SampleKept& kept) {
  for (int64_t g = 0; g < row.groups; ++g)
    row.group_weight[g] =
        row.group_max[g] < kept.z ? 0 : row.weigh(row.group(g), row.size(g), g * kLogitGroup, kept, row.scale, nullptr);
}

// The token that u falls on, by the groups' weights.
int32_t locate(const SampleRowView& row, const SampleKept& kept, double u) {
  const double target = u * row.total();
  double running = 0;
  int64_t g = 0, last = 0;  // the last group that has weight: where u falls if rounding leaves it past the end
  for (; g < row.groups && running + row.group_weight[g] <= target; ++g) {
    running += row.group_weight[g];
    if (row.group_weight[g] > 0) last = g;
  }
  if (g == row.groups) g = last;
  double w[kLogitGroup];
  row.weigh(row.group(g), row.size(g), g * kLogitGroup, kept, row.scale, w);
  int64_t found = 0;
  for (int64_t i = 0; i < row.size(g); ++i) {
    if (w[i] > 0) found = i;
    if ((running += w[i]) > target) break;
  }
  return int32_t(g * kLogitGroup + found);
}

int32_t draw_from_groups(const SampleRowView& row, const SamplingParams& p, double u) {
  SampleKept kept = sample_kept_at_once(p, row.V, row.scale.max);
  const bool by_rank = p.top_k > 0 && p.top_k < row.V;
  double total = row.total();
  if (by_rank) {
    const Cut best = find_cut(row, p.temperature, [&](int64_t count, double) { return count >= p.top_k; });
    kept = best.kept, total = best.weight;
  }
  if (p.top_p < 1) {
    const double enough = p.top_p * total;
    kept = find_cut(row, p.temperature, [&](int64_t, double weight) { return weight >= enough; }).kept;
  }
  if (by_rank || p.top_p < 1) {
    kept.weight = p.min_p;
    weigh_groups(row, kept);
  }
  return locate(row, kept, u);
}

int32_t first_of_the_largest(const SampleRowView& row) {
  const int64_t g = std::find(row.group_max, row.group_max + row.groups, row.scale.max) - row.group_max;
  const float* z = row.group(g);
  return int32_t(g * kLogitGroup + (std::find(z, z + row.size(g), row.scale.max) - z));
}

}  // namespace

bool sample_draws_from_groups(const SamplingParams& p, int64_t groups) {
  return p.temperature > 0 && (p.top_k == 0 || p.top_k > groups);
}

SampleKept sample_kept_at_once(const SamplingParams& p, int64_t V, float max) {
  SampleKept kept;
  const bool others_first = p.top_p < 1 || (p.top_k > 0 && p.top_k < V);
  if (others_first || p.min_p == 0) return kept;
  kept.weight = p.min_p;
  // Spares the groups that lie below. A little too low, so that the weight decides at the border.
  const double lowest = max + double(p.temperature) * (std::log(double(p.min_p)) - 1e-6);
  if (lowest > kept.z) kept.z = std::nextafter(float(lowest), kept.z);
  return kept;
}

void sample_finish_row(const SampleArgs& a, int64_t b, const SampleScratch& s, SampleWeigh weigh, int thread) {
  const SamplingParams& p = a.params[b];
  const LogitBlock* block = s.block + b * s.blocks;
  const SampleRowView row(a, b, s, weigh, thread);
  float finite = 0;
  double sum = 0;
  for (int64_t i = 0; i < s.blocks; ++i) finite += block[i].finite, sum += block[i].sum;
  int32_t& id = a.ids.as<int32_t>()[b];
  if (finite != 0) id = kSampleNotFinite;
  else if (row.scale.max < SampleKept{}.z) id = kSampleNothingLeft;
  else if (p.temperature == 0) id = first_of_the_largest(row);
  else {
    const double u = sample_uniform(p.seed, a.positions.as<int32_t>()[b]);
    id = sample_draws_from_groups(p, s.groups) ? draw_from_groups(row, p, u) : draw_from_list(row, p, u);
  }
  if (!a.logprobs.present()) return;
  const double logprob =
      id < 0 ? std::numeric_limits<double>::quiet_NaN() : double(row.x[id]) - max_of_blocks(block, s.blocks) - std::log(sum);
  a.logprobs.as<float>()[b] = float(logprob);
}

}  // namespace sluice
