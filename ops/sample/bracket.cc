// Where a cut through a row's best tokens lies, by a sample of the row: within how much, so that what decides it is few tokens.
#include <algorithm>
#include <cmath>
#include <utility>

#include "ops/sample/select.h"

namespace sluice {
namespace {

constexpr int64_t kPartOfGroup = 4;       // tokens of each other group
constexpr double kBinsPerExponent = 128;  // a bin is a range of weights from 1 to e^(1 / 128)
constexpr double kDeviations = 3;         // of the sample's error, to each side
// What lies below all bins counts as their lower end; it must be less than the 6e-8 that the largest top_p below 1 leaves.
static_assert(kSampleBins >= 32 * kBinsPerExponent);

// A row's sample as counts in bins of z.
struct Sample {
  const SampleRowView& row;
  int64_t whole_groups;
  double per_z = kBinsPerExponent * row.scale.rate;  // bins

  // The bins of n <= kLogitGroup tokens; the last one has no end.
  void find_bins(const float* z, int64_t n, int32_t* bin) const {
    constexpr float kLast = kSampleBins - 1;
    const float max = row.scale.max, scale = float(std::min<double>(per_z, std::numeric_limits<float>::max()));
    const auto find = [=](int64_t count) {
      for (int64_t i = 0; i < count; ++i) {
        const float at = (max - z[i]) * scale;
        bin[i] = int32_t(at < kLast ? at : kLast);
      }
    };
    if (n == kLogitGroup) find(kLogitGroup);
    else find(n);
  }
  void count(const float* z, int64_t n, uint32_t SampleBin::*counter) const {
    int32_t bin[kLogitGroup];
    find_bins(z, n, bin);
    for (int64_t i = 0; i < n; ++i) row.bins[bin[i]].*counter += z[i] >= SampleKept{}.z;  // not -inf
  }

  // The groups with the largest z: those whose largest is in a bin before `bin`, and the first `more` of that bin.
  struct Best {
    int32_t bin;
    int64_t more;
  };
  Best best_groups() const {
    std::fill_n(row.bins, kSampleBins, SampleBin{});
    for (int64_t g = 0; g < row.groups; g += kLogitGroup)
      count(row.group_max + g, std::min(kLogitGroup, row.groups - g), &SampleBin::whole);
    int64_t left = whole_groups;
    int32_t bin = 0;
    for (; bin < kSampleBins - 1 && row.bins[bin].whole < left; ++bin) left -= row.bins[bin].whole;
    return {bin, left};
  }

  static bool has(const float* z, float wanted) {
    bool found = false;
    for (int64_t i = 0; i < kPartOfGroup; ++i) found |= z[i] == wanted;
    return found;
  }

  void take() const {
    Best best = best_groups();
    std::fill_n(row.bins, kSampleBins, SampleBin{});
    float part[kLogitGroup];
    int64_t parts = 0;
    for (int64_t first = 0; first < row.groups; first += kLogitGroup) {
      const int64_t groups = std::min(kLogitGroup, row.groups - first);
      int32_t bin[kLogitGroup];
      find_bins(row.group_max + first, groups, bin);
      for (int64_t i = 0; i < groups; ++i) {
        const int64_t g = first + i;
        if (row.group_max[g] < SampleKept{}.z) continue;
        if (row.size(g) < kLogitGroup || bin[i] < best.bin || (bin[i] == best.bin && best.more-- > 0)) {
          count(row.z(g), row.size(g), &SampleBin::whole);
          continue;
        }
        // The largest is certain; the part speaks for the others.
        const float* z = row.z(g) + g * 5 * kPartOfGroup % kLogitGroup;
        std::copy_n(z, kPartOfGroup, part + parts);
        row.bins[bin[i]].whole += 1;
        row.bins[bin[i]].part -= has(z, row.group_max[g]);
        if ((parts += kPartOfGroup) < kLogitGroup) continue;
        count(part, std::exchange(parts, 0), &SampleBin::part);
      }
    }
    count(part, parts, &SampleBin::part);
  }

  double z_of(int64_t bin) const { return double(row.scale.max) - double(bin) / per_z; }
};

// Sums over bins from the first on. A token of a part stands for several.
struct Sum {
  double weight = 0, variance = 0;
  int64_t bin = 0;
};
struct Sums {
  const SampleBin* bins;
  double ratio;  // of the logarithm of the weight to that which the bins are made for

  // Up to the bin with which the weight reaches `enough`; to the last if none does.
  Sum until(double enough) const {
    constexpr double kStandsFor = double(kLogitGroup) / kPartOfGroup;
    const double step = std::exp(-ratio / kBinsPerExponent);
    double weight = std::exp(-0.5 * ratio / kBinsPerExponent);
    Sum sum;
    for (;; ++sum.bin, weight *= step) {
      const SampleBin& b = bins[sum.bin];
      sum.weight += weight * (b.whole + kStandsFor * b.part);
      sum.variance += weight * weight * kStandsFor * (kStandsFor - 1) * b.part;
      if (sum.weight >= enough || sum.bin == kSampleBins - 1) return sum;
    }
  }
};

}  // namespace

SampleBracket sample_bracket(const SampleRowView& row, SampleScale scale, double share, int64_t whole_groups) {
  const Sample sample{row, whole_groups};
  sample.take();
  const Sums sums{row.bins, scale.rate / row.scale.rate};
  const Sum all = sums.until(std::numeric_limits<double>::infinity());
  const double wanted = share * all.weight;
  // What decides is (1 - share) times the weight above a z less share times the weight below it.
  const Sum above = sums.until(wanted);
  const double variance = (1 - share) * (1 - share) * above.variance + share * share * (all.variance - above.variance);
  const double binned = 2 * share * (1 - share) * all.weight * sums.ratio / kBinsPerExponent;  // at most
  const double error = kDeviations * std::sqrt(std::max(0.0, variance)) + binned;
  const int64_t first = sums.until(wanted - error).bin, last = sums.until(wanted + error).bin;
  // A bin more on each side, for rounding.
  constexpr float kLowest = SampleKept{}.z;
  return {.low = last + 2 < kSampleBins ? float(std::max<double>(sample.z_of(last + 2), kLowest)) : kLowest,
          .high = float(std::min<double>(sample.z_of(first - 1), row.scale.max))};
}

}  // namespace sluice
