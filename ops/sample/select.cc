// From a row's block results to its token: the scalar half of the vector forms. No full sort: the draw halves a range of candidates
// until a handful are left.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/rows.h"
#include "ops/sample/forms.h"
#include "ops/sample/philox.h"

namespace sluice {
namespace {

// Candidates whose weight is below e^-12 of the best's are looked at only when a draw needs them.
constexpr double kFirstDepth = 12;

bool better(const SampleCandidate& a, const SampleCandidate& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; }

double sum_of(const SampleCandidate* c, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += c[i].weight;
  return sum;
}

// Moves the candidates with logit >= pivot to the front, adds up their weights and returns their number. Without a branch: at a
// good pivot half of them would be mispredicted.
int64_t split(SampleCandidate* c, int64_t n, float pivot, double& weight) {
  int64_t upper = 0;
  for (int64_t i = 0; i < n; ++i) {
    const SampleCandidate x = c[i];
    c[i] = c[upper], c[upper] = x;
    upper += x.logit >= pivot;
    weight += x.logit >= pivot ? x.weight : 0;
  }
  return upper;
}

// Moves the shortest run of best candidates that is enough(count, weight) to the front, the worst of them last, and returns its
// length; n if none is. `enough` must stay true once it is. Halves the range of logits in question until few or equal ones are
// left.
template <class Enough>
int64_t cut(SampleCandidate* c, int64_t n, Enough enough) {
  constexpr int64_t kSortAtOnce = 64;
  int64_t begin = 0, end = n;  // the run ends between these
  double before = 0;           // weight of [0, begin)
  while (end - begin > kSortAtOnce) {
    const auto by_logit = [](const SampleCandidate& a, const SampleCandidate& b) { return a.logit < b.logit; };
    const auto [lowest, highest] = std::minmax_element(c + begin, c + end, by_logit);
    const float low = lowest->logit, high = highest->logit, middle = 0.5f * low + 0.5f * high;
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

// The token that u in [0, 1) falls on. `total` is the weight of all tokens, read only without top_k.
int32_t draw(SampleCandidate* c, int64_t n, const SamplingParams& p, bool top_k, double total, double u) {
  if (top_k) {
    n = cut(c, n, [&](int64_t count, double) { return count >= p.top_k; });
    total = sum_of(c, n);
  }
  if (p.top_p < 1) {
    const double enough = p.top_p * total;
    n = cut(c, n, [&](int64_t, double weight) { return weight >= enough; });
    total = sum_of(c, n);
  }
  if (p.min_p > 0) {
    n = std::partition(c, c + n, [&](const SampleCandidate& x) { return x.weight >= p.min_p; }) - c;
    total = sum_of(c, n);
  }
  const double target = u * total;
  n = cut(c, n, [&](int64_t, double weight) { return weight > target; });
  return c[n - 1].id;
}

struct Row {
  const float* x;
  const float* group_max;
  int64_t V, groups;
  float max;
  SampleWeigh weigh;
};

int32_t first_of_the_largest(const Row& row) {
  const int64_t group = std::find(row.group_max, row.group_max + row.groups, row.max) - row.group_max;
  const float* from = row.x + group * kSampleGroup;
  return int32_t(std::find(from, row.x + row.V, row.max) - row.x);
}

// All tokens with logit >= threshold in order of id, with their weights.
int64_t collect(const Row& row, double threshold, float temperature, SampleCandidate* c) {
  int64_t n = 0;
  for (int64_t g = 0; g < row.groups; ++g) {
    if (!(row.group_max[g] >= threshold)) continue;
    for (int64_t i = g * kSampleGroup; i < std::min(row.V, (g + 1) * kSampleGroup); ++i)
      if (row.x[i] >= threshold) c[n++] = {0, row.x[i], int32_t(i)};
  }
  row.weigh(c, n, row.max, temperature);
  return n;
}

// A logit that at least k tokens reach: the k-th largest of the groups' maxima. `memory` holds a float for each group.
double threshold_of_top_k(const Row& row, int k, float* memory) {
  if (k > row.groups) return -std::numeric_limits<double>::infinity();
  std::copy_n(row.group_max, row.groups, memory);
  std::nth_element(memory, memory + (k - 1), memory + row.groups, [](float a, float b) { return a > b; });
  return memory[k - 1];
}

int32_t sample_row(const Row& row, const SamplingParams& p, double u, double total, SampleCandidate* c) {
  if (!sample_needs_total(p, row.V)) {
    const double threshold = threshold_of_top_k(row, p.top_k, reinterpret_cast<float*>(c));
    return draw(c, collect(row, threshold, p.temperature, c), p, true, 0, u);
  }
  int64_t n = collect(row, row.max - kFirstDepth * p.temperature, p.temperature, c);
  const double needed = (p.top_p < 1 ? double(p.top_p) : u) * total;
  const bool all_that_count = p.min_p >= std::exp(-kFirstDepth) || sum_of(c, n) > needed;
  if (!all_that_count) n = collect(row, -std::numeric_limits<double>::infinity(), p.temperature, c);
  return draw(c, n, p, false, total, u);
}

}  // namespace

size_t sample_workspace(const Context& ctx, const SampleArgs& a) {
  const int64_t B = a.logits.shape[0], V = a.logits.shape[1];
  return size_t(B * ceil_div(V, kSampleBlock)) * sizeof(SampleBlock) + size_t(ctx.team->size() * V) * sizeof(SampleCandidate) +
         size_t(B * ceil_div(V, kSampleGroup)) * sizeof(float);
}

SampleScratch sample_scratch(const SampleArgs& a, std::byte* memory) {
  const int64_t B = a.logits.shape[0], V = a.logits.shape[1];
  SampleScratch s{.V = V, .groups = ceil_div(V, kSampleGroup), .blocks = ceil_div(V, kSampleBlock)};
  s.block = reinterpret_cast<SampleBlock*>(memory);
  s.group_max = reinterpret_cast<float*>(s.block + B * s.blocks);
  s.candidate = reinterpret_cast<SampleCandidate*>(s.group_max + round_up(B * s.groups, 2));
  return s;
}

bool sample_needs_total(const SamplingParams& p, int64_t V) { return p.temperature > 0 && (p.top_k == 0 || p.top_k >= V); }

float sample_row_max(const SampleScratch& s, int64_t b) {
  const SampleBlock* block = s.block + b * s.blocks;
  float max = block[0].max;
  for (int64_t i = 1; i < s.blocks; ++i) max = std::max(max, block[i].max);
  return max;
}

void sample_finish_row(const SampleArgs& a, int64_t b, const SampleScratch& s, SampleWeigh weigh, int thread) {
  const SampleBlock* block = s.block + b * s.blocks;
  const Row row{Rows(a.logits).row<float>(b), s.group_max + b * s.groups, s.V, s.groups, sample_row_max(s, b), weigh};
  float finite = 0;
  double sum = 0, total = 0;
  for (int64_t i = 0; i < s.blocks; ++i) finite += block[i].finite, sum += block[i].sum, total += block[i].weight;
  int32_t& id = a.ids.as<int32_t>()[b];
  float& logprob = a.logprobs.as<float>()[b];
  if (finite != 0) return void((id = -1, logprob = std::numeric_limits<float>::quiet_NaN()));
  const SamplingParams& p = a.params[b];
  const double u = sample_uniform(p.seed, a.positions.as<int32_t>()[b]);
  id = p.temperature == 0 ? first_of_the_largest(row) : sample_row(row, p, u, total, s.candidate + thread * s.V);
  logprob = float(double(row.x[id]) - row.max - std::log(sum));
}

}  // namespace sluice
