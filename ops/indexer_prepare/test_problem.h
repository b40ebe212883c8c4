// Inputs and outputs of a call for the tests, and how a call's outputs are compared.
#pragma once

#include <cmath>
#include <numbers>

#include "ops/index_cache/index_cache.h"
#include "ops/indexer_prepare/cases.h"
#include "ops/indexer_prepare/indexer_prepare.h"
#include "tests/support/op_testing.h"

namespace sluice::testing {

inline Storage cos_sin_table(int64_t positions, int64_t rotary_dim) {
  const std::vector<double> inv_freq = rope_frequencies(10000, int(rotary_dim));
  const int64_t pairs = rotary_dim / 2;
  Storage table(DType::kF32, {positions, rotary_dim}, rotary_dim + 4);
  int64_t at = 0;
  table.fill([&] {
    const int64_t position = at / rotary_dim, i = at % rotary_dim;
    ++at;
    const double angle = double(position) * inv_freq[size_t(i % pairs)];
    return i < pairs ? std::cos(angle) : std::sin(angle);
  });
  return table;
}

inline Storage integers(const std::function<int64_t()>& next, int64_t n, DType dtype) {
  std::vector<int64_t> v;
  for (int64_t i = 0; i < n; ++i) v.push_back(next());
  return ints(v, dtype);
}

// What a call reads.
struct Given {
  IndexerPrepareCase c;
  Storage q, weights, k, norm_weight, norm_bias, positions, cos_sin;

  // offset: elements in front of q and k.
  Given(Random& random, const IndexerPrepareCase& c, DType dtype, int64_t offset = 0, DType index = DType::kI32)
      : c(c),
        q(random.normal(dtype, {c.tokens, c.heads, c.dim}, 3, c.heads * c.dim + c.gap, offset)),
        weights(random.normal(dtype, {c.tokens, c.heads}, 1, c.heads + c.gap)),
        k(random.normal(dtype, {c.tokens, c.dim}, 3, c.dim + c.gap, offset)),
        norm_weight(random.normal(dtype, {c.dim})),
        norm_bias(random.normal(dtype, {c.dim})),
        positions(integers([&] { return random.integer(0, 199); }, c.tokens, index)),
        cos_sin(cos_sin_table(200, c.rotary_dim)) {}
  Given(Given&&) = delete;
};

// Where a call writes; poisoned.
struct Made {
  static constexpr int64_t kPages = 5;
  Storage q, scale, gate, k, cache;

  // page: tokens; `slack`: bytes between pages.
  Made(const IndexerPrepareCase& c, DType q_out, DType k_out, int64_t page = 64, int64_t slack = 0)
      : q(q_out, {c.tokens, c.heads, c.dim}, c.heads * c.dim + c.gap),
        scale(DType::kF32, {c.tokens, c.heads}, c.heads + c.gap),
        gate(DType::kF32, {c.tokens, c.heads}),
        k(k_out, {c.tokens, c.dim}, c.dim + c.gap),
        cache(DType::kU8, {kPages, page * kIndexTokenBytes}, page * kIndexTokenBytes + slack) {}
};

inline IndexerQuery query_of(const Given& in, const Made& out) {
  IndexerQuery q{.x = in.q, .weights = in.weights, .out = out.q, .gate = out.gate};
  if (q.out.dtype == DType::kF8E4M3) q.scale = out.scale;
  return q;
}
inline IndexerKey key_of(const Given& in, const Made& out, const Tensor& loc = {}) {
  IndexerKey k{.x = in.k, .norm_weight = in.norm_weight, .norm_bias = in.norm_bias, .out = out.k};
  if (loc.present()) k.cache = out.cache, k.loc = loc;
  return k;
}

inline Tolerance limit_of(DType out) { return out == DType::kF32 ? Tolerance{2e-6, 2e-5} : Tolerance{4e-3, 8e-3}; }

// Codes as whole numbers in order of their values; NaN is far from everything.
inline int step_of(uint8_t code) {
  const int size = code & 0x7f;
  return size == 0x7f ? 1000 : code & 0x80 ? -size : size;
}

// Counts differing codes; more than one step apart is a failure.
inline int64_t differing_codes(const uint8_t* got, const uint8_t* want, int64_t n, const std::string& what) {
  int64_t differing = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int apart = std::abs(step_of(got[i]) - step_of(want[i]));
    EXPECT_LE(apart, 1) << what << ": code " << i;
    differing += apart != 0;
  }
  return differing;
}

inline void expect_queries(const Made& got, const Made& want, const std::string& what) {
  expect_close(got.gate, want.gate, limit_of(DType::kF32), what + ": gate");
  const Tensor &g = got.q.tensor(), &w = want.q.tensor();
  if (g.dtype != DType::kF8E4M3) return expect_close(got.q, want.q, limit_of(g.dtype), what + ": q");
  expect_close(got.scale, want.scale, limit_of(DType::kF32), what + ": scale");
  EXPECT_TRUE(got.q.margins_intact()) << what << ": wrote outside its output";
  int64_t differing = 0;
  for (int64_t t = 0; t < g.dim(0); ++t)
    differing += differing_codes(g.as<uint8_t>() + t * g.stride[0], w.as<uint8_t>() + t * w.stride[0], g.dim(1) * g.dim(2), what);
  EXPECT_LE(double(differing), std::max(1.0, 1e-3 * double(g.numel()))) << what;
}

// Every byte of the cache: tokens of `loc` as wanted, all others untouched.
inline void expect_cache(const Made& got, const Made& want, const std::vector<int64_t>& written, const std::string& what) {
  const IndexCacheLayout layout(got.cache.tensor());
  const auto *g = got.cache.tensor().as<uint8_t>(), *w = want.cache.tensor().as<uint8_t>();
  std::set<int64_t> expected(written.begin(), written.end());
  int64_t differing = 0;
  for (int64_t loc = 0; loc < layout.slots; ++loc) {
    float scale, wanted;
    std::memcpy(&scale, g + layout.scale(loc), sizeof scale);
    std::memcpy(&wanted, w + layout.scale(loc), sizeof wanted);
    if (!expected.count(loc)) {
      EXPECT_TRUE(std::isnan(scale)) << what << ": loc " << loc;
      for (int64_t d = 0; d < kIndexDim; ++d) EXPECT_EQ(g[layout.codes(loc) + d], 0xff) << what << ": loc " << loc;
      continue;
    }
    EXPECT_NEAR(scale, wanted, 2e-6 * wanted) << what << ": loc " << loc;
    differing += differing_codes(g + layout.codes(loc), w + layout.codes(loc), kIndexDim, what);
  }
  EXPECT_LE(double(differing), std::max(1.0, 1e-3 * double(kIndexDim) * double(expected.size()))) << what;
  EXPECT_TRUE(got.cache.margins_intact()) << what << ": wrote outside the cache";
}

}  // namespace sluice::testing
