// Merging what attention over the parts of any split of the keys gives is attention over all keys.
#include <cmath>

#include "ops/merge_state/test_problem.h"

namespace sluice {
namespace {

using namespace sluice::testing;

// One query's scores, and values [keys, dim], in fp64.
struct Problem {
  std::vector<double> scores, values;
  size_t dim;
};

Problem random_problem(Random& random, size_t keys, size_t dim) {
  Problem p{.scores = {}, .values = {}, .dim = dim};
  for (size_t k = 0; k < keys; ++k) p.scores.push_back(random.normal(0, 4));
  for (size_t i = 0; i < keys * dim; ++i) p.values.push_back(random.normal());
  return p;
}

struct Result64 {
  std::vector<double> v;
  double lse;  // natural
};

// Attention over the keys of which `of_part` says that they are of `part`; -1: over all.
Result64 attend(const Problem& p, const std::vector<int64_t>& of_part, int64_t part) {
  const auto mine = [&](size_t k) { return part < 0 || of_part[k] == part; };
  double most = -INFINITY, total = 0;
  for (size_t k = 0; k < p.scores.size(); ++k)
    if (mine(k)) most = std::max(most, p.scores[k]);
  Result64 r{std::vector<double>(p.dim, 0.0), -INFINITY};
  if (std::isinf(most)) return r;
  for (size_t k = 0; k < p.scores.size(); ++k) {
    if (!mine(k)) continue;
    const double w = std::exp(p.scores[k] - most);
    total += w;
    for (size_t d = 0; d < p.dim; ++d) r.v[d] += w * p.values[k * p.dim + d];
  }
  for (double& x : r.v) x /= total;
  r.lse = most + std::log(total);
  return r;
}

TEST(MergeState, AnySplitOfTheKeysIsOnePass) {
  Random random(11);
  for (int trial = 0; trial < 60; ++trial) {
    const int64_t keys = random.integer(0, 90), parts = random.integer(1, 20), dim = random.integer(1, 70);
    const LseBase base = kBases[trial % 2];
    const Problem p = random_problem(random, size_t(keys), size_t(dim));
    std::vector<int64_t> of_part;
    for (int64_t k = 0; k < keys; ++k) of_part.push_back(random.integer(0, parts - 1));
    State partial(DType::kF32, {parts, 1, dim}, base);
    std::vector<double> v, lse;
    for (int64_t part = 0; part < parts; ++part) {
      const Result64 r = attend(p, of_part, part);
      v.insert(v.end(), r.v.begin(), r.v.end());
      lse.push_back(r.lse / natural_log_of(base));
    }
    size_t i = 0, j = 0;
    partial.fill_values([&] { return v[i++]; });
    partial.lse.fill([&] { return lse[j++]; });
    const Result64 whole = attend(p, of_part, -1);
    const Storage indptr = ints({0, parts});
    for (const auto* impl : runnable(merge_state_impls(), MergeStateArgs{.a = partial, .indptr = indptr, .out = partial})) {
      const State got(DType::kF32, {1, 1, dim});
      run_ok(*impl, MergeStateArgs{.a = partial, .indptr = indptr, .out = got});
      const Error e = error(values_of(got.v), whole.v);
      EXPECT_LE(e.max_rel, 4e-6) << impl->name << " trial " << trial;
      if (keys == 0) EXPECT_EQ(got.lse.values()[0], -INFINITY) << impl->name;
      else EXPECT_NEAR(got.lse.values()[0], whole.lse, 4e-6) << impl->name << " trial " << trial;
    }
  }
}

}  // namespace
}  // namespace sluice
