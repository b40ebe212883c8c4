// The checks of core/simd.h against fp64, shared by one test program an instruction set: simd_test.cc, simd_avx2_test.cc
// and simd_avx512_test.cc.
//
// The functions under test arrive as pointers, so that this file is compiled for any CPU in both programs.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/dtype.h"

namespace sluice::simd_checks {

using Map = void (*)(const float* in, float* out);  // 16 lanes

struct Kernels {
  Map exp, log1p_unit, softplus, sigmoid, silu, round, swap_pairs, swap_2_apart, swap_4_apart, swap_8_apart;
  void (*to_bf16)(const float* in, Bf16* out, int n);
  void (*from_bf16)(const Bf16* in, float* out, int n);
  void (*to_int8)(const float* in, int8_t* out, int n);
  void (*from_int8)(const int8_t* in, float* out);
  uint32_t (*greater)(const float*, const float*);
  float (*reduce_add)(const float*);
  float (*reduce_max)(const float*);
  float (*sum_of_squares)(const float*, int64_t);
  void (*transpose)(float (*square)[16]);
  void (*reduce_add8)(const float (*in)[16], float* out);
  void (*columns_of_4)(const Bf16* in, int n, float (*out)[16]);
  void (*columns_of_3)(const float* in, int n, float (*out)[16]);
};

template <class K>
Kernels kernels_of() {
  return {K::exp,        K::log1p_unit,   K::softplus,     K::sigmoid,      K::silu,       K::round,
          K::swap_pairs, K::swap_2_apart, K::swap_4_apart, K::swap_8_apart, K::to_bf16,    K::from_bf16,
          K::to_int8,    K::from_int8,    K::greater,      K::reduce_add,   K::reduce_max, K::sum_of_squares,
          K::transpose,  K::reduce_add8,  K::columns_of_4, K::columns_of_3};
}

constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kTiny = std::numeric_limits<float>::min();  // the least normal number, 1.2e-38
constexpr double kUlp = 0x1p-23;                            // of a number just above 1

inline std::vector<float> apply(Map f, std::vector<float> x) {
  x.resize((x.size() + 15) / 16 * 16);
  std::vector<float> y(x.size());
  for (size_t i = 0; i < x.size(); i += 16) f(x.data() + i, y.data() + i);
  return y;
}

inline float apply1(Map f, float x) { return apply(f, {x})[0]; }

// Every 4099th float (a prime, so all exponents and mixed low bits come): both signs, denormals, infinities and NaNs among them.
inline std::vector<float> every_kind_of_float() {
  std::vector<float> x;
  for (uint64_t bits = 0; bits < (uint64_t(1) << 32); bits += 4099) x.push_back(std::bit_cast<float>(uint32_t(bits)));
  for (const float v :
       {0.0f, kTiny, kTiny / 4, std::numeric_limits<float>::denorm_min(), std::numeric_limits<float>::max(), kInf, kNan})
    x.push_back(v), x.push_back(-v);
  return x;
}

// |f(x) - want(x)| <= relative * |want| + absolute over all of x that `in_domain` takes. NaN must give NaN.
template <class Want, class Domain>
void expect_near_everywhere(Map f, Want want, Domain in_domain, double relative, double absolute, const char* what) {
  const std::vector<float> x = every_kind_of_float(), y = apply(f, x);
  double worst = 0;
  size_t checked = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i])) {
      ASSERT_TRUE(std::isnan(y[i])) << what << " of NaN is " << y[i];
      continue;
    }
    if (!in_domain(x[i])) continue;
    ++checked;
    const double w = want(double(x[i]));
    if (std::abs(w) > std::numeric_limits<float>::max()) {
      ASSERT_TRUE(y[i] == float(w)) << what << " of " << x[i] << " is " << y[i];
      continue;
    }
    const double excess = std::abs(y[i] - w) / (relative * std::abs(w) + absolute);
    ASSERT_LE(excess, 1) << what << " of " << x[i] << " is " << y[i] << ", wanted " << w;
    worst = std::max(worst, excess);
  }
  EXPECT_GT(checked, 1000u) << what;
  EXPECT_GT(worst, 0.05) << what << ": the limit is far above the error, so it could hide a worse one";
}

inline void check_exp(const Kernels& k) {
  // Below the normal range a result has fewer bits: half of the least denormal is its rounding.
  expect_near_everywhere(
      k.exp, [](double x) { return x > 88.8 ? double(kInf) : std::exp(x); }, [](float) { return true; }, 2 * kUlp, 0x1p-149, "exp");
  EXPECT_EQ(apply1(k.exp, 0), 1);
  EXPECT_EQ(apply1(k.exp, -0.0f), 1);
  EXPECT_EQ(apply1(k.exp, -104.1f), 0);
  EXPECT_EQ(apply1(k.exp, -kInf), 0);
  EXPECT_EQ(apply1(k.exp, kInf), kInf);
  EXPECT_GT(apply1(k.exp, 88.7f), 3e38f);
}

inline void check_log1p_unit(const Kernels& k) {
  const auto domain = [](float x) { return x >= kTiny && x <= 1; };
  expect_near_everywhere(
      k.log1p_unit, [](double x) { return std::log1p(x); }, domain, 4e-7, 0, "log1p_unit");
  EXPECT_EQ(apply1(k.log1p_unit, 0), 0);
}

inline void check_softplus(const Kernels& k) {
  const auto want = [](double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); };
  expect_near_everywhere(
      k.softplus, want, [](float) { return true; }, 6e-7, 4 * 0x1p-149, "softplus");
  EXPECT_EQ(apply1(k.softplus, -kInf), 0);
  EXPECT_EQ(apply1(k.softplus, kInf), kInf);
}

// Left of -88.8 the denominator is infinite: results below 3e-39, and 3e-37 for silu, come out as 0.
inline void check_sigmoid_and_silu(const Kernels& k) {
  const auto everywhere = [](float) { return true; };
  expect_near_everywhere(
      k.sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, everywhere, 4 * kUlp, 3e-39, "sigmoid");
  const auto silu = [](double x) { return x < -700 ? 0.0 : x / (1 + std::exp(-x)); };
  expect_near_everywhere(
      k.silu, silu, [](float x) { return x > -kInf; }, 5 * kUlp, 3e-37, "silu");
  EXPECT_EQ(apply1(k.sigmoid, 0), 0.5f);
  EXPECT_EQ(apply1(k.sigmoid, -kInf), 0);
  EXPECT_EQ(apply1(k.sigmoid, kInf), 1);
  EXPECT_EQ(apply1(k.silu, 0), 0);
  EXPECT_EQ(apply1(k.silu, kInf), kInf);
}

inline void check_round(const Kernels& k) {
  for (float x : {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 0.49999997f, 1234567.0f, -3.2f, 0.0f})
    EXPECT_EQ(apply1(k.round, x), std::nearbyint(x)) << x;
}

// Bits, not values: a wrong NaN or a lost denormal must show.
inline void check_bf16(const Kernels& k) {
  std::vector<float> x = every_kind_of_float();
  for (uint32_t upper = 0; upper < 0x10000; upper += 7)  // exact halves between two neighbours, and just beside them
    for (const uint32_t lower : {0x7fffu, 0x8000u, 0x8001u}) x.push_back(std::bit_cast<float>(upper << 16 | lower));
  x.resize(x.size() / 16 * 16);
  for (size_t i = 0; i < x.size(); i += 16) {
    Bf16 stored[16];
    float back[16];
    k.to_bf16(&x[i], stored, 16);
    k.from_bf16(stored, back, 16);
    for (int j = 0; j < 16; ++j) {
      ASSERT_EQ(stored[j].bits, Bf16(x[i + j]).bits) << x[i + j];
      ASSERT_EQ(std::bit_cast<uint32_t>(back[j]), uint32_t(stored[j].bits) << 16);
    }
  }
}

inline void check_int8(const Kernels& k) {
  std::vector<float> x = every_kind_of_float();
  for (float v = -130; v <= 130; v += 0.25f) x.push_back(v);
  x.resize(x.size() / 16 * 16);
  for (size_t i = 0; i < x.size(); i += 16) {
    int8_t stored[16];
    std::fill_n(stored, 16, int8_t(99));
    const int n = int(i / 16 % 17);
    k.to_int8(&x[i], stored, n);
    for (int j = 0; j < 16; ++j) {
      const float v = x[i + size_t(j)], near = std::isnan(v) ? 0 : std::nearbyint(std::clamp(v, -127.0f, 127.0f));
      ASSERT_EQ(int(stored[j]), j < n ? int(near) : 99) << v;
    }
  }
  int8_t codes[256];
  float values[256];
  for (int i = 0; i < 256; ++i) codes[i] = int8_t(i - 128);
  for (int i = 0; i < 256; i += 16) k.from_int8(codes + i, values + i);
  for (int i = 0; i < 256; ++i) EXPECT_EQ(values[i], float(i - 128));
}

// Partial vectors touch the lanes they name and no other.
inline void check_partial_vectors(const Kernels& k) {
  const std::vector<float> x(16, 1.5f);
  for (int n = 0; n <= 16; ++n) {
    std::vector<Bf16> stored(16, Bf16(-7.0f));
    std::vector<float> back(16);
    k.to_bf16(x.data(), stored.data(), n);
    for (int i = 0; i < 16; ++i) EXPECT_EQ(float(stored[i]), i < n ? 1.5f : -7.0f) << n;
    k.from_bf16(stored.data(), back.data(), n);
    for (int i = 0; i < 16; ++i) EXPECT_EQ(back[i], i < n ? 1.5f : 0.0f) << n;
  }
}

inline void check_reductions(const Kernels& k) {
  float x[16], swapped[16];
  for (int i = 0; i < 16; ++i) x[i] = float((i * 7) % 16) - 20;
  EXPECT_EQ(k.reduce_add(x), -200);
  EXPECT_EQ(k.reduce_max(x), -5);
  k.swap_pairs(x, swapped);
  for (int i = 0; i < 16; ++i) EXPECT_EQ(swapped[i], x[i ^ 1]);
  int apart = 1;
  for (const Map swap : {k.swap_2_apart, k.swap_4_apart, k.swap_8_apart}) {
    swap(x, swapped);
    apart *= 2;
    for (int i = 0; i < 16; ++i) EXPECT_EQ(swapped[i], x[i ^ apart]) << apart;
  }
  // The tree: 8 apart first, so that 1e8 meets -1e8 before the small ones are added.
  const float cancelling[16] = {1e8f, 1, 1, 1, 1, 1, 1, 1, -1e8f, 1, 1, 1, 1, 1, 1, 1};
  EXPECT_EQ(k.reduce_add(cancelling), 14);
  std::vector<float> ones(300, 2.0f);
  for (const int64_t n : {0, 1, 15, 16, 17, 63, 64, 65, 130, 300}) EXPECT_EQ(k.sum_of_squares(ones.data(), n), 4 * float(n)) << n;
}

inline void check_transpose(const Kernels& k) {
  float square[16][16];
  for (int i = 0; i < 256; ++i) square[i / 16][i % 16] = float(i);
  k.transpose(square);
  for (int i = 0; i < 256; ++i) ASSERT_EQ(square[i % 16][i / 16], float(i)) << i;
}

// The same bits as one after another, also where the order shows.
inline void check_reductions_side_by_side(const Kernels& k) {
  float x[8][16], sums[8];
  for (int i = 0; i < 128; ++i) x[i / 16][i % 16] = (i % 3 ? 1e-3f : 1e4f) * float((i * 37) % 101 - 50);
  k.reduce_add8(x, sums);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(sums[i], k.reduce_add(x[i])) << i;
}

inline void check_columns(const Kernels& k) {
  for (int n = 0; n <= 16; ++n) {
    // Only the block may be read: what lies behind it is NaN, and would show in the lanes from n on.
    std::vector<Bf16> four(64 + 64, Bf16(kNan));
    std::vector<float> three(48 + 64, kNan);
    for (int i = 0; i < 4 * n; ++i) four[size_t(i)] = Bf16(float(i + 1));
    for (int i = 0; i < 3 * n; ++i) three[size_t(i)] = float(i + 1);
    float columns[4][16];
    k.columns_of_4(four.data(), n, columns);
    for (int i = 0; i < 64; ++i) EXPECT_EQ(columns[i % 4][i / 4], i < 4 * n ? float(i + 1) : 0.0f) << n << ' ' << i;
    k.columns_of_3(three.data(), n, columns);
    for (int i = 0; i < 48; ++i) EXPECT_EQ(columns[i % 3][i / 3], i < 3 * n ? float(i + 1) : 0.0f) << n << ' ' << i;
  }
}

inline void check_greater(const Kernels& k) {
  const float some[] = {-kInf, -1, -kTiny / 4, -0.0f, 0, kTiny / 4, 1, kInf, kNan};
  for (int turn = 0; turn < 9; ++turn) {
    float x[16], y[16];
    uint32_t want = 0;
    for (int i = 0; i < 16; ++i) {
      x[i] = some[i % 9], y[i] = some[(i + turn) % 9];
      want |= uint32_t(x[i] > y[i]) << i;
    }
    EXPECT_EQ(k.greater(x, y), want) << turn;
  }
}

inline void check_all(const Kernels& k) {
  check_exp(k);
  check_log1p_unit(k);
  check_softplus(k);
  check_sigmoid_and_silu(k);
  check_round(k);
  check_bf16(k);
  check_int8(k);
  check_greater(k);
  check_partial_vectors(k);
  check_reductions(k);
  check_reductions_side_by_side(k);
  check_transpose(k);
  check_columns(k);
}

}  // namespace sluice::simd_checks
