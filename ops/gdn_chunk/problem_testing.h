// What the tests of the gated delta operators share: inputs of several temperaments, a pool of states, and comparing pools.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "core/rows.h"
#include "ops/gdn_chunk/args.h"
#include "ops/gdn_close/gdn_close.h"
#include "tests/support/op_testing.h"

namespace sluice::testing {

inline constexpr Tolerance kGdnF32{2e-5, 1e-4}, kGdnBf16{8e-3, 2e-2};

struct GdnShape {
  int64_t HK, HV, K, V;
};

enum class Temper {
  kMild,        // decays and write strengths as in trained models
  kStrong,      // log_g anywhere down to -20, next to almost none
  kReflecting,  // beta up to 2, hardly any decay
  kCorrelated,  // keys nearly alike, beta 1, no decay: the triangular system is as hard as it gets
};

inline std::string name(Temper t) {
  switch (t) {
    case Temper::kMild:
      return "mild";
    case Temper::kStrong:
      return "strong";
    case Temper::kReflecting:
      return "reflecting";
    case Temper::kCorrelated:
      return "correlated";
  }
  return "?";
}

// The contents of one dense storage into another of the same shape.
inline void copy_into(const Storage& from, Storage& to) {
  std::memcpy(to.tensor().data, from.tensor().data, from.tensor().bytes());
}

// A pool whose chunks are closed every R rows. Only S is filled: reading a row that was never appended gives NaN.
struct GdnPool {
  GdnPool(int64_t slots, const GdnShape& d, Random& random, int64_t R = 64) : GdnPool(slots, d, R) {
    s.fill([&] { return random.normal(0, 0.3); });
  }
  GdnPool(int64_t slots, const GdnShape& d, int64_t R = 64, DType state = DType::kF32)
      : s(state, {slots, d.HV, d.K, d.V}),
        k(DType::kF32, {slots, d.HK, d.K, R}),
        u(DType::kF32, {slots, d.HV, R, d.V}),
        g(DType::kF32, {slots, d.HV, R}) {}
  GdnPool(const GdnPool& o) : GdnPool(o, o.s.tensor().dtype) {}
  // The same with S in another type.
  GdnPool(const GdnPool& o, DType state) : GdnPool(o.s.tensor().dim(0), o.shape(), o.rows(), state) {
    copy_into(o.k, k), copy_into(o.u, u), copy_into(o.g, g);
    visit_float(o.s, [&]<class X>(const X*) {
      visit_float(s, [&]<class Y>(const Y*) {
        const X* from = o.s.tensor().as<X>();
        if constexpr (std::is_same_v<X, Y>) copy_into(o.s, s);
        else std::transform(from, from + s.tensor().numel(), s.tensor().as<Y>(), [](X x) { return Y(float(x)); });
      });
    });
  }
  int64_t rows() const { return g.tensor().dim(2); }
  GdnShape shape() const { return {k.tensor().dim(1), s.tensor().dim(1), s.tensor().dim(2), s.tensor().dim(3)}; }
  GdnState state() const { return {s, k, u, g}; }

  Storage s, k, u, g;
};

inline void expect_same_pool(const GdnPool& a, const GdnPool& b, const std::string& what) {
  expect_same_bits(a.s, b.s, what + ": S");
  expect_same_bits(a.k, b.k, what + ": k");
  expect_same_bits(a.u, b.u, what + ": u");
  expect_same_bits(a.g, b.g, what + ": G");
}

// S and the first n open rows of a slot; what lies behind them is of no matter.
inline void expect_same_open_chunk(const GdnPool& a, const GdnPool& b, int64_t slot, int64_t n, const std::string& what) {
  const auto same = [](const Tensor& x, const Tensor& y) { return std::memcmp(x.data, y.data, x.bytes()) == 0; };
  const Tensor s = a.s.tensor()[slot];
  EXPECT_TRUE(same(s, b.s.tensor()[slot])) << what << ": S";
  for (int64_t h = 0; h < s.dim(0); ++h) {
    EXPECT_TRUE(same(a.u.tensor()[slot][h].slice(0, 0, n), b.u.tensor()[slot][h].slice(0, 0, n))) << what << ": u";
    EXPECT_TRUE(same(a.g.tensor()[slot][h].slice(0, 0, n), b.g.tensor()[slot][h].slice(0, 0, n))) << what << ": G";
  }
  const Tensor k = a.k.tensor()[slot], l = b.k.tensor()[slot];
  for (int64_t h = 0; h < k.dim(0); ++h)
    for (int64_t d = 0; d < k.dim(1); ++d) EXPECT_TRUE(same(k[h][d].slice(0, 0, n), l[h][d].slice(0, 0, n))) << what << ": k";
}

// Inputs of T rows. q, k and v are strided as parts of one projection's output would be.
struct GdnInputs {
  GdnInputs(int64_t T, const GdnShape& d, Temper temper, DType in, Random& random)
      : q(random.normal(in, {T, d.HK, d.K}, 1, d.HK * d.K + 24)),
        k(random.normal(in, {T, d.HK, d.K}, 1, d.HK * d.K + 8)),
        v(random.normal(in, {T, d.HV, d.V}, 1, d.HV * d.V + 40)),
        log_g(DType::kF32, {T, d.HV}),
        beta(DType::kF32, {T, d.HV}) {
    if (temper == Temper::kCorrelated) {
      int64_t i = 0;
      k.fill([&] { return std::sin(double(i++ % (d.HK * d.K))) + random.normal(0, 0.2); });
    }
    log_g.fill([&] { return draw_log_g(temper, random); });
    beta.fill([&] {
      if (temper == Temper::kCorrelated) return 1.0;
      return random.uniform(0, temper == Temper::kReflecting ? 2 : 1);
    });
  }
  static double draw_log_g(Temper temper, Random& random) {
    switch (temper) {
      case Temper::kMild:
        return -random.uniform(0, 0.2);
      case Temper::kStrong:
        return random.uniform(0, 1) < 0.2 ? -random.uniform(0, 20) : -random.uniform(0, 0.01);
      case Temper::kReflecting:
        return -random.uniform(0, 1e-3);
      case Temper::kCorrelated:
        return 0;
    }
    return 0;
  }
  // Rows [begin, end) with outputs of their own.
  GdnArgs rows(int64_t begin, int64_t end, const Tensor& o) const {
    const auto part = [&](const Tensor& t) { return t.slice(0, begin, end); };
    GdnArgs a{.q = part(q), .k = part(k), .v = part(v), .log_g = part(log_g), .beta = part(beta)};
    a.o = part(o);
    a.scale = float(1 / std::sqrt(double(k.tensor().dim(2))));
    a.qk_l2norm = true;
    return a;
  }

  Storage q, k, v, log_g, beta;
};

template <class Args>
Args gdn_args(const GdnArgs& a) {
  Args r;
  static_cast<GdnArgs&>(r) = a;
  return r;
}

// The state of each slot after `rows` open rows, by the reference's closing or another form's.
inline Storage closed_states(const GdnPool& pool, const std::vector<int64_t>& slots, const std::vector<int64_t>& rows,
                             const char* form = "reference") {
  GdnPool copy(pool, DType::kF32);
  const Storage ids = ints(slots), counts = ints(rows);
  run_ok(impl_named(gdn_close_impls(), form), GdnCloseArgs{.slots = ids, .rows = counts, .state = copy.state()});
  return std::move(copy.s);
}

}  // namespace sluice::testing
