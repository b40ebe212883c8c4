// The form of core/simd.h for any CPU: sixteen lanes as four of the four-lane vectors that every x86-64 and Arm core has, through
// the compiler's vector extension. (One 64-byte vector type would be kept in memory by g++ where no register is as wide: five times
// slower.)
#pragma once

#include <cstdint>
#include <cstring>

#include "core/dtype.h"

#define SLUICE_INLINE inline __attribute__((always_inline))

namespace sluice::simd {

inline constexpr int kLanes = 16;

struct Plain {
  using Quad = float __attribute__((vector_size(16)));
  using IntQuad = int32_t __attribute__((vector_size(16)));
  struct F {
    Quad q[4];
    SLUICE_INLINE float operator[](int i) const { return q[i / 4][i % 4]; }
  };
  static constexpr int kRegisters = 4;  // sixteen of 16 bytes: how many F they hold

  // f(a), f(a, b) or f(a, b, c) on each four lanes.
  template <class Fn, class... A>
  static SLUICE_INLINE F quads(Fn f, const A&... a) {
    return {{f(a.q[0]...), f(a.q[1]...), f(a.q[2]...), f(a.q[3]...)}};
  }

  static SLUICE_INLINE F zero() { return {}; }
  static SLUICE_INLINE F set1(float x) {
    const Quad q = Quad{} + x;
    return {{q, q, q, q}};
  }
  static SLUICE_INLINE F load(const float* p) {
    F r;
    std::memcpy(&r, p, sizeof r);
    return r;
  }
  static SLUICE_INLINE void store(float* p, F a) { std::memcpy(p, &a, sizeof a); }
  // The first n lanes, 0 <= n <= 16; the others are zero, and their memory is not touched.
  template <class X>
  static SLUICE_INLINE F load_n(const X* p, int n) {
    if (n == kLanes) return load(p);
    float lanes[kLanes] = {};
    for (int i = 0; i < n; ++i) lanes[i] = float(p[i]);
    return load(lanes);
  }
  template <class X>
  static SLUICE_INLINE void store_n(X* p, F a, int n) {
    if (n == kLanes) return store(p, a);
    float lanes[kLanes];
    store(lanes, a);
    for (int i = 0; i < n; ++i) p[i] = X(lanes[i]);
  }

  static SLUICE_INLINE F load(const Bf16* p) {
    uint32_t lanes[kLanes];
    for (int i = 0; i < kLanes; ++i) lanes[i] = uint32_t(p[i].bits) << 16;
    F r;
    std::memcpy(&r, lanes, sizeof r);
    return r;
  }
  static SLUICE_INLINE void store(Bf16* p, F a) {  // rounds to nearest even
    float lanes[kLanes];
    store(lanes, a);
    for (int i = 0; i < kLanes; ++i) p[i] = Bf16(lanes[i]);
  }

  template <class X>
  static SLUICE_INLINE F load_each(const X* p) {
    float lanes[kLanes];
    for (int i = 0; i < kLanes; ++i) lanes[i] = float(p[i]);
    return load(lanes);
  }
  static SLUICE_INLINE F load(const F16* p) { return load_each(p); }
  static SLUICE_INLINE F load(const F8E5M2* p) { return load_each(p); }
  // As float(F8E4M3) does it, in every lane, but without arithmetic on denormals, which is slow.
  static SLUICE_INLINE F load(const F8E4M3* p) {
    constexpr int kOne = 1 << 23;  // of an fp32's exponent
    F r;
    for (int q = 0; q < 4; ++q) {
      const IntQuad bits = {p[4 * q].bits, p[4 * q + 1].bits, p[4 * q + 2].bits, p[4 * q + 3].bits};
      const IntQuad x = (bits & 0x7f) << 20, sign = (bits & 0x80) << 24;
      const IntQuad small = IntQuad(Quad(x + 121 * kOne) - 0x1p-6f), number = x < kOne ? small : x + 120 * kOne;
      r.q[q] = Quad((x == 0x7f << 20 ? IntQuad{} + 0x7fc00000 : number) | sign);
    }
    return r;
  }
  // Rounds to nearest even; e4m3 stops at 448, e5m2 at 57344.
  template <class X>
  static SLUICE_INLINE void store_each(X* p, F a) {
    float lanes[kLanes];
    store(lanes, a);
    for (int i = 0; i < kLanes; ++i) p[i] = X(lanes[i]);
  }
  static SLUICE_INLINE void store(F16* p, F a) { store_each(p, a); }
  static SLUICE_INLINE void store(F8E4M3* p, F a) { store_each(p, a); }
  static SLUICE_INLINE void store(F8E5M2* p, F a) { store_each(p, a); }

  // To the nearest whole number, in the middle to the even one, at most 127 in size; NaN becomes 0.
  static SLUICE_INLINE void store_n(int8_t* p, F a, int n) {
    const F near = quads(
        [](Quad x) {
          const Quad most = Quad{} + 127.0f;
          x = x > most ? most : x;
          x = x < -most ? -most : x;
          return (x + 12582912.0f) - 12582912.0f;
        },
        a);
    float lanes[kLanes];
    store(lanes, near);
    for (int i = 0; i < n; ++i) p[i] = lanes[i] == lanes[i] ? int8_t(lanes[i]) : int8_t(0);
  }
  static SLUICE_INLINE void store(int8_t* p, F a) { store_n(p, a, kLanes); }
  static SLUICE_INLINE F load(const int8_t* p) { return load_each(p); }

  // Columns of a row-major [n, W] block, W <= 4: lane i of column[w] is p[i * W + w]; lanes from n on are zero.
  template <int W, class X>
  static SLUICE_INLINE void load_columns(const X* p, int n, F (&column)[W]) {
    for (int w = 0; w < W; ++w) {
      float lanes[kLanes] = {};
      for (int i = 0; i < n; ++i) lanes[i] = float(p[i * W + w]);
      column[w] = load(lanes);
    }
  }

  static SLUICE_INLINE F add(F a, F b) {
    return quads([](Quad x, Quad y) { return x + y; }, a, b);
  }
  static SLUICE_INLINE F sub(F a, F b) {
    return quads([](Quad x, Quad y) { return x - y; }, a, b);
  }
  static SLUICE_INLINE F mul(F a, F b) {
    return quads([](Quad x, Quad y) { return x * y; }, a, b);
  }
  static SLUICE_INLINE F div(F a, F b) {
    return quads([](Quad x, Quad y) { return x / y; }, a, b);
  }
  // a * b + c and c - a * b
  static SLUICE_INLINE F fma(F a, F b, F c) {
    return quads([](Quad x, Quad y, Quad z) { return x * y + z; }, a, b, c);
  }
  static SLUICE_INLINE F fnma(F a, F b, F c) {
    return quads([](Quad x, Quad y, Quad z) { return z - x * y; }, a, b, c);
  }
  // b where either is NaN
  static SLUICE_INLINE F min(F a, F b) {
    return quads([](Quad x, Quad y) { return x < y ? x : y; }, a, b);
  }
  static SLUICE_INLINE F max(F a, F b) {
    return quads([](Quad x, Quad y) { return x > y ? x : y; }, a, b);
  }
  // Bit i says whether a[i] > b[i], as it is not where either is NaN.
  static SLUICE_INLINE uint32_t greater(F a, F b) {
    uint32_t bits = 0;
    for (int i = 0; i < 4; ++i) {
      const IntQuad q = (a.q[i] > b.q[i]) & IntQuad{1, 2, 4, 8};
      bits |= uint32_t((q[0] | q[1]) | (q[2] | q[3])) << 4 * i;
    }
    return bits;
  }
  static SLUICE_INLINE F sqrt(F a) {
    return quads(
        [](Quad x) {
          return Quad{__builtin_sqrtf(x[0]), __builtin_sqrtf(x[1]), __builtin_sqrtf(x[2]), __builtin_sqrtf(x[3])};
        },
        a);
  }
  static SLUICE_INLINE F abs(F a) {
    return quads([](Quad x) { return Quad(IntQuad(x) & 0x7fffffff); }, a);
  }
  static SLUICE_INLINE F round(F a) {  // nearest even, for |a| < 2^22
    return quads([](Quad x) { return (x + 12582912.0f) - 12582912.0f; }, a);
  }
  // a * 2^n for integral n in [-252, 252]; in two steps, so that results below the normal range are right.
  static SLUICE_INLINE F scale_by_power_of_2(F a, F n) {
    return quads(
        [](Quad x, Quad power) {
          const IntQuad whole = __builtin_convertvector(power, IntQuad), half = whole >> 1, rest = whole - half;
          return x * Quad((half + 127) << 23) * Quad((rest + 127) << 23);
        },
        a, n);
  }

  // Rows become columns.
  static SLUICE_INLINE void transpose(F (&r)[kLanes]) {
    float square[kLanes][kLanes];
    for (int i = 0; i < kLanes; ++i) store(square[i], r[i]);
    for (int i = 0; i < kLanes; ++i) {
      float column[kLanes];
      for (int j = 0; j < kLanes; ++j) column[j] = square[j][i];
      r[i] = load(column);
    }
  }
  static SLUICE_INLINE F swap_pairs(F a) {  // lanes 1, 0, 3, 2, ...
    return quads([](Quad x) { return __builtin_shuffle(x, IntQuad{1, 0, 3, 2}); }, a);
  }

  // Lanes i and i ^ kApart change places; kApart is 1, 2, 4 or 8.
  template <int kApart>
  static SLUICE_INLINE F swap_apart(F a) {
    if constexpr (kApart == 8) return {{a.q[2], a.q[3], a.q[0], a.q[1]}};
    if constexpr (kApart == 4) return {{a.q[1], a.q[0], a.q[3], a.q[2]}};
    if constexpr (kApart == 1) return swap_pairs(a);
    return quads([](Quad x) { return __builtin_shuffle(x, IntQuad{2, 3, 0, 1}); }, a);
  }

  // Sum of the lanes, in one fixed tree: 8 apart, then 4, 2, 1.
  static SLUICE_INLINE float reduce_add(F a) {
    const Quad s = (a.q[0] + a.q[2]) + (a.q[1] + a.q[3]);
    return (s[0] + s[2]) + (s[1] + s[3]);
  }
  // out[i] = reduce_add(a[i]), the same tree.
  static SLUICE_INLINE void reduce_add8(const F (&a)[8], float* out) {
    for (int i = 0; i < 8; ++i) out[i] = reduce_add(a[i]);
  }
  static SLUICE_INLINE float reduce_max(F a) {
    float m = a[0];
    for (int i = 1; i < kLanes; ++i) m = a[i] > m ? a[i] : m;
    return m;
  }
};

}  // namespace sluice::simd
