// The functions of core/simd.h behind pointers for tests. Included once by each test program, within its instruction set's flags.
#pragma once

#include "core/simd.h"

namespace sluice::simd {
namespace {

template <class V>
struct TestKernels {
  static void exp(const float* x, float* y) { V::store(y, simd::exp<V>(V::load(x))); }
  static void log1p_unit(const float* x, float* y) { V::store(y, simd::log1p_unit<V>(V::load(x))); }
  static void softplus(const float* x, float* y) { V::store(y, simd::softplus<V>(V::load(x))); }
  static void sigmoid(const float* x, float* y) { V::store(y, simd::sigmoid<V>(V::load(x))); }
  static void silu(const float* x, float* y) { V::store(y, simd::silu<V>(V::load(x))); }
  static void round(const float* x, float* y) { V::store(y, V::round(V::load(x))); }
  static void swap_pairs(const float* x, float* y) { V::store(y, V::swap_pairs(V::load(x))); }
  static void swap_2_apart(const float* x, float* y) { V::store(y, V::template swap_apart<2>(V::load(x))); }
  static void swap_4_apart(const float* x, float* y) { V::store(y, V::template swap_apart<4>(V::load(x))); }
  static void swap_8_apart(const float* x, float* y) { V::store(y, V::template swap_apart<8>(V::load(x))); }
  static void to_bf16(const float* x, Bf16* y, int n) { V::store_n(y, V::load(x), n); }
  static void from_bf16(const Bf16* x, float* y, int n) { V::store(y, V::load_n(x, n)); }
  static void to_int8(const float* x, int8_t* y, int n) { V::store_n(y, V::load(x), n); }
  static void from_int8(const int8_t* x, float* y) { V::store(y, V::load(x)); }
  static uint32_t greater(const float* x, const float* y) { return V::greater(V::load(x), V::load(y)); }
  static float reduce_add(const float* x) { return V::reduce_add(V::load(x)); }
  static float reduce_max(const float* x) { return V::reduce_max(V::load(x)); }
  static void transpose(float (*square)[16]) {
    typename V::F r[16];
    for (int i = 0; i < 16; ++i) r[i] = V::load(square[i]);
    V::transpose(r);
    for (int i = 0; i < 16; ++i) V::store(square[i], r[i]);
  }
  static void reduce_add8(const float (*x)[16], float* sums) {
    typename V::F a[8];
    for (int i = 0; i < 8; ++i) a[i] = V::load(x[i]);
    V::reduce_add8(a, sums);
  }
  template <int W, class X>
  static void columns(const X* x, int n, float (*y)[16]) {
    typename V::F column[W];
    V::template load_columns<W>(x, n, column);
    for (int w = 0; w < W; ++w) V::store(y[w], column[w]);
  }
  static void columns_of_4(const Bf16* x, int n, float (*y)[16]) { columns<4>(x, n, y); }
  static void columns_of_3(const float* x, int n, float (*y)[16]) { columns<3>(x, n, y); }
  static float sum_of_squares(const float* x, int64_t n) { return simd::sum_of_squares<V>(x, n); }
};

}  // namespace
}  // namespace sluice::simd
