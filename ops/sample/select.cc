// From a row's groups to its token: the scalar half of the vector forms. Nothing is sorted but the last handful of a cut.
#include "ops/sample/select.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/rows.h"
#include "ops/sample/philox.h"

namespace sluice {
namespace {

bool has_top_k(const SamplingParams& p, int64_t V) { return p.top_k > 0 && p.top_k < V; }

bool better(const SampleCandidate& a, const SampleCandidate& b) { return a.z != b.z ? a.z > b.z : a.id < b.id; }

double sum_of(const SampleCandidate* c, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += c[i].weight;
  return sum;
}

bool keeps(const SampleKept& kept, const SampleCandidate& c) { return (c.z > kept.z) | ((c.z == kept.z) & (c.id <= kept.last)); }

// The search for a cut through n candidates, which are in order of id: a range of z, and what is better than all of it. A histogram
// of the range says in which part of it the cut is, until a handful are left, or equal ones.
template <class Enough>
class CutSearch {
 public:
  CutSearch(const SampleCandidate* c, int64_t n, Enough enough) : c_(c), n_(n), enough_(enough) {}

  SampleKept find() {
    find_range([](const SampleCandidate&) { return true; });
    while (few_ > kFew && low_ < high_) narrow();
    if (few_ > kFew) return walk(c_, n_);
    std::sort(handful_, handful_ + few_, better);
    return walk(handful_, few_);
  }

 private:
  static constexpr int64_t kFew = 64;
  static constexpr int kBins = 256;

  // The range of those that are in it, their number, and themselves if they are few.
  template <class IsIn>
  void find_range(IsIn is_in) {
    float low = std::numeric_limits<float>::infinity(), high = -low;
    few_ = 0;
    for (int64_t i = 0; i < n_; ++i) {
      if (!is_in(c_[i])) continue;
      low = std::min(low, c_[i].z), high = std::max(high, c_[i].z);
      handful_[std::min(few_++, kFew - 1)] = c_[i];
    }
    low_ = low, high_ = high;
  }

  bool in_range(const SampleCandidate& c) const { return c.z >= low_ && c.z <= high_; }

  void narrow() {
    struct Bin {
      double weight;
      int64_t count;
    } bins[kBins] = {};
    const double top = high_, per_z = kBins / (top - low_);
    const auto bin_of = [=](float z) { return int((std::min((top - z) * per_z, kBins - 1.0))); };  // high_: 0, low_: the last
    for (int64_t i = 0; i < n_; ++i) {
      if (!in_range(c_[i])) continue;
      Bin& bin = bins[bin_of(c_[i].z)];
      bin.weight += c_[i].weight, ++bin.count;
    }
    int at = 0;
    for (; at < kBins - 1 && !enough_(count_ + bins[at].count, weight_ + bins[at].weight); ++at)
      count_ += bins[at].count, weight_ += bins[at].weight;
    find_range([&, low = low_, high = high_](const SampleCandidate& c) { return c.z >= low && c.z <= high && bin_of(c.z) == at; });
  }

  // Along candidates from better to worse, of which those outside the range are passed over.
  SampleKept walk(const SampleCandidate* c, int64_t n) {
    SampleKept last;
    for (int64_t i = 0; i < n; ++i) {
      if (!in_range(c[i])) continue;
      last = {c[i].z, c[i].id};
      if (enough_(++count_, weight_ += c[i].weight)) break;
    }
    return last;
  }

  const SampleCandidate* c_;
  int64_t n_;
  Enough enough_;
  float low_ = 0, high_ = 0;  // the range
  int64_t count_ = 0;         // of those above it
  double weight_ = 0;
  SampleCandidate handful_[kFew];
  int64_t few_ = 0;
};

// The shortest run of best candidates that is enough(count, weight), all if none is; `enough` must stay true once it is.
template <class Enough>
SampleKept cut(const SampleCandidate* c, int64_t n, Enough enough) {
  return CutSearch<Enough>(c, n, enough).find();
}

void weigh(const SampleRowView& row, SampleScale scale, SampleCandidate* c, int64_t n) {
  float z[kLogitGroup];
  double w[kLogitGroup];
  for (int64_t i = 0; i < n; i += kLogitGroup) {
    const int64_t count = std::min(kLogitGroup, n - i);
    for (int64_t j = 0; j < count; ++j) z[j] = c[i + j].z;
    row.form.weigh(z, count, 0, {}, scale, w);
    for (int64_t j = 0; j < count; ++j) c[i + j].weight = w[j];
  }
}

// All tokens with z >= threshold, in order of id, with their weights.
int64_t collect(const SampleRowView& row, float threshold) {
  int64_t n = 0;
  for (int64_t g = 0; g < row.groups; ++g) {
    if (!(row.group_max[g] >= threshold)) continue;
    const float* z = row.z(g);
    for (int64_t i = 0; i < row.size(g); ++i)
      if (z[i] >= threshold) row.candidate[n++] = {0, z[i], int32_t(g * kLogitGroup + i)};
  }
  weigh(row, row.scale, row.candidate, n);
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
  const auto keep = [&](auto&& kept) { n = std::remove_if(c, c + n, [&](const SampleCandidate& x) { return !kept(x); }) - c; };
  const SampleKept best = cut(c, n, [&](int64_t count, double) { return count >= p.top_k; });
  keep([&](const SampleCandidate& x) { return keeps(best, x); });
  if (p.top_p < 1) {
    const double enough = p.top_p * sum_of(c, n);
    const SampleKept kept = cut(c, n, [&](int64_t, double weight) { return weight >= enough; });
    keep([&](const SampleCandidate& x) { return keeps(kept, x); });
  }
  if (p.min_p > 0) keep([&](const SampleCandidate& x) { return x.weight >= p.min_p; });
  const double target = u * sum_of(c, n);
  double running = 0;
  for (int64_t i = 0; i < n; ++i)
    if ((running += c[i].weight) > target) return c[i].id;
  return c[n - 1].id;
}

void weigh_groups(const SampleRowView& row, const SampleKept& kept) {
  for (int64_t g = 0; g < row.groups; ++g)
    row.group[g].weight =
        row.group_max[g] < kept.z ? 0 : row.form.weigh(row.z(g), row.size(g), g * kLogitGroup, kept, row.scale, nullptr);
}

void split_groups(const SampleRowView& row, SampleScale scale, SampleBracket bracket) {
  *row.bracket = bracket;
  for (int64_t g = 0; g < row.groups; ++g)
    row.group[g] = row.group_max[g] < SampleKept{}.z ? SampleGroup{} : row.form.split(row.z(g), row.size(g), bracket, scale);
}

double weight_above(const SampleRowView& row) {
  double sum = 0;
  for (int64_t g = 0; g < row.groups; ++g) sum += row.group[g].above;
  return sum;
}

// All tokens in the bracket, in order of id, with their weights.
int64_t collect_inside(const SampleRowView& row, SampleScale scale) {
  int64_t n = 0;
  for (int64_t g = 0; g < row.groups; ++g) {
    if (row.group[g].inside == 0) continue;
    const float* z = row.z(g);
    for (uint64_t left = row.group[g].inside; left != 0; left &= left - 1) {
      const int i = std::countr_zero(left);
      row.candidate[n++] = {0, z[i], int32_t(g * kLogitGroup + i)};
    }
  }
  weigh(row, scale, row.candidate, n);
  return n;
}

// The shortest run of best tokens that has the weight `enough`, all if none has it, in a row split at its bracket. Leaves the
// groups with the weight of what is kept.
SampleKept find_cut(const SampleRowView& row, SampleScale scale, double enough) {
  const double all = row.total();
  if (all < enough) return {};
  double above = weight_above(row);
  int64_t n = collect_inside(row, scale);
  if (above >= enough || above + sum_of(row.candidate, n) < enough) {  // a sample may lead astray, a look at every token does not
    split_groups(row, scale, sample_bracket(row, scale, enough / all, row.groups));
    above = weight_above(row);
    n = collect_inside(row, scale);
  }
  const SampleKept kept = cut(row.candidate, n, [&](int64_t, double weight) { return above + weight >= enough; });
  const SampleCandidate *c = row.candidate, *end = c + n;
  for (int64_t g = 0; g < row.groups; ++g) {
    double weight = row.group[g].above;
    for (; c < end && c->id < (g + 1) * kLogitGroup; ++c) weight += keeps(kept, *c) * c->weight;
    row.group[g].weight = weight;
  }
  return kept;
}

// The token that u falls on, by the groups' weights.
int32_t locate(const SampleRowView& row, const SampleKept& kept, double u) {
  const double target = u * row.total();
  double running = 0;
  int64_t g = 0, last = 0;  // the last group that has weight: where u falls if rounding leaves it past the end
  for (; g < row.groups && running + row.group[g].weight <= target; ++g) {
    running += row.group[g].weight;
    if (row.group[g].weight > 0) last = g;
  }
  if (g == row.groups) g = last;
  double w[kLogitGroup];
  row.form.weigh(row.z(g), row.size(g), g * kLogitGroup, kept, row.scale, w);
  int64_t found = 0;
  for (int64_t i = 0; i < row.size(g); ++i) {
    if (w[i] > 0) found = i;
    if ((running += w[i]) > target) break;
  }
  return int32_t(g * kLogitGroup + found);
}

int32_t draw_from_groups(const SampleRowView& row, const SamplingParams& p, double u) {
  SampleKept kept = sample_kept_at_once(p, row.V, row.scale.max);
  const double all = row.total();
  if (sample_begins_with_top_p(p, row.V)) {
    kept = find_cut(row, row.scale, p.top_p * all);
  } else if (has_top_k(p, row.V)) {
    const SampleScale count{row.scale.max, 0};
    split_groups(row, count, sample_bracket(row, count, double(p.top_k) / double(row.V)));
    kept = find_cut(row, count, p.top_k);
    weigh_groups(row, kept);
    if (p.top_p < 1) {
      const double enough = p.top_p * row.total();
      split_groups(row, row.scale, sample_bracket(row, row.scale, enough / all));
      kept = find_cut(row, row.scale, enough);
    }
  }
  if (p.min_p > kept.weight) {
    kept.weight = p.min_p;
    weigh_groups(row, kept);
  }
  return locate(row, kept, u);
}

bool finite(const LogitBlock* block, int64_t blocks) {
  float sum = 0;
  for (int64_t i = 0; i < blocks; ++i) sum += block[i].finite;
  return sum == 0;
}

int32_t first_of_the_largest(const SampleRowView& row) {
  const int64_t g = std::find(row.group_max, row.group_max + row.groups, row.scale.max) - row.group_max;
  const float* z = row.z(g);
  return int32_t(g * kLogitGroup + (std::find(z, z + row.size(g), row.scale.max) - z));
}

}  // namespace

bool sample_draws_from_groups(const SamplingParams& p, int64_t groups) {
  return p.temperature > 0 && (p.top_k == 0 || p.top_k > groups);
}

bool sample_begins_with_top_p(const SamplingParams& p, int64_t V) { return p.top_p < 1 && !has_top_k(p, V); }

SampleKept sample_kept_at_once(const SamplingParams& p, int64_t V, float max) {
  SampleKept kept;
  const bool others_first = p.top_p < 1 || has_top_k(p, V);
  if (others_first || p.min_p == 0) return kept;
  kept.weight = p.min_p;
  // Spares the groups that lie below. A little too low, so that the weight decides at the border.
  const double lowest = max + double(p.temperature) * (std::log(double(p.min_p)) - 1e-6);
  if (lowest > kept.z) kept.z = std::nextafter(float(lowest), kept.z);
  return kept;
}

void sample_begin_row(const SampleArgs& a, int64_t b, const SampleScratch& s, const SampleForm& form, int thread) {
  const SamplingParams& p = a.params[b];
  if (!sample_draws_from_groups(p, s.groups) || !sample_begins_with_top_p(p, s.V)) return;
  const SampleRowView row(a, b, s, form, thread);
  const bool has_token = finite(s.block + b * s.blocks, s.blocks) && row.scale.max >= SampleKept{}.z;
  *row.bracket = has_token ? sample_bracket(row, row.scale, p.top_p) : SampleBracket{};
}

void sample_finish_row(const SampleArgs& a, int64_t b, const SampleScratch& s, const SampleForm& form, int thread) {
  const SamplingParams& p = a.params[b];
  const LogitBlock* block = s.block + b * s.blocks;
  const SampleRowView row(a, b, s, form, thread);
  double sum = 0;
  for (int64_t i = 0; i < s.blocks; ++i) sum += block[i].sum;
  int32_t& id = a.ids.as<int32_t>()[b];
  if (!finite(block, s.blocks)) id = kSampleNotFinite;
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
