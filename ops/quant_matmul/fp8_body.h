// fp8: 16 rows of w at a time, a block of 128 elements of k after the other. A block is widened once, into L1, and meets every row
// of x there; sums of blocks rest in memory between them.
//
// The order of a sum: in a block, lane l of one accumulator takes the elements l, l + 16, ... (bf16: pairs of elements), k
// ascending, and the sixteen lanes meet in the tree of V::reduce_add; blocks are added in order.
//
// D is the arithmetic: V, Element (as multiplied), kStep (elements in a vector), load, dot.
#pragma once

#include <algorithm>

#include "core/buffer.h"
#include "core/rows.h"
#include "core/simd.h"
#include "ops/quant_matmul/forms.h"

namespace sluice {

inline constexpr int64_t kFp8Rows = simd::kLanes;  // rows of w at a time

template <class Vec>
struct Fp8Widened {
  using V = Vec;
  using Element = float;
  static constexpr int kStep = simd::kLanes;
  static SLUICE_INLINE typename V::F load(const float* p) { return V::load(p); }
  static SLUICE_INLINE typename V::F dot(typename V::F x, typename V::F w, typename V::F sum) { return V::fma(x, w, sum); }
};

// Of one thread: a block of w, and the sums of 16 rows of w with all rows of x.
template <class D>
struct Fp8Scratch {
  using Element = typename D::Element;
  static size_t bytes(int64_t m) {
    return size_t(round_up(kFp8Rows * (kFp8Block * sizeof(Element) + m * sizeof(float)), kCacheLine));
  }
  Element* block;
  float* sums;
  Fp8Scratch(std::byte* memory)
      : block(reinterpret_cast<Element*>(memory)), sums(reinterpret_cast<float*>(block + kFp8Rows * kFp8Block)) {}
};

template <class D>
class Fp8Matmul {
 public:
  using V = typename D::V;
  using Element = typename D::Element;

  Fp8Matmul(const QuantMatmulArgs& a, std::byte* scratch)
      : a_(a), x_(reinterpret_cast<Element*>(scratch)), per_thread_(scratch + x_bytes(a)) {}

  static size_t x_bytes(const QuantMatmulArgs& a) {
    return size_t(round_up(a.x.shape[0] * round_up(a.x.shape[1], kFp8Block) * int64_t(sizeof(Element)), kCacheLine));
  }

  void run(ThreadTeam& team) const {
    team.split(m(), 16, [&](int64_t begin, int64_t end, int) { pack_x(begin, end); });
    team.each(ceil_div(a_.w.shape[0], kFp8Rows), [&](int64_t i, int thread) {
      rows(i * kFp8Rows, std::min((i + 1) * kFp8Rows, a_.w.shape[0]),
           Fp8Scratch<D>(per_thread_ + thread * Fp8Scratch<D>::bytes(m())));
    });
  }

 private:
  int64_t m() const { return a_.x.shape[0]; }
  int64_t k() const { return a_.x.shape[1]; }
  int64_t pitch() const { return round_up(k(), kFp8Block); }

  // Rounded to bf16, zeros beyond K.
  void pack_x(int64_t begin, int64_t end) const {
    const Rows rows(a_.x);
    visit_float(a_.x, [&]<class X>(X*) {
      for (int64_t m = begin; m < end; ++m)
        for (int64_t k0 = 0; k0 < pitch(); k0 += simd::kLanes) {
          Bf16 rounded[simd::kLanes];
          V::store(rounded, V::load_n(rows.row<X>(m) + k0, int(std::clamp<int64_t>(k() - k0, 0, simd::kLanes))));
          V::store(x_ + m * pitch() + k0, V::load(rounded));
        }
    });
  }

  void widen(int64_t n0, int64_t n1, int64_t k0, Element* block) const {
    for (int64_t r = 0; r < kFp8Rows; ++r) {
      const F8E4M3* row = a_.w.as<F8E4M3>() + std::min(n0 + r, n1 - 1) * a_.w.stride[0] + k0;  // beyond the end: not stored
      for (int64_t i = 0; i < kFp8Block; i += simd::kLanes)
        V::store(block + r * kFp8Block + i, V::load_n(row + i, int(std::clamp<int64_t>(k() - k0 - i, 0, simd::kLanes))));
    }
  }

  // sums[r] = fma(scale, sum of a block's row r with x, sums[r])
  SLUICE_INLINE static void multiply(const Element* block, const Element* x, float scale, bool first, float* sums) {
    float products[kFp8Rows];
    for (int64_t r = 0; r < kFp8Rows; r += 8) {
      typename V::F acc[8];
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) acc[i] = V::zero();
      for (int64_t e = 0; e < kFp8Block; e += D::kStep) {
        const auto some = D::load(x + e);
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) acc[i] = D::dot(some, D::load(block + (r + i) * kFp8Block + e), acc[i]);
      }
      V::reduce_add8(acc, products + r);
    }
    V::store(sums, V::fma(V::load(products), V::set1(scale), first ? V::zero() : V::load(sums)));
  }

  void rows(int64_t n0, int64_t n1, const Fp8Scratch<D>& mine) const {
    for (int64_t j = 0; j * kFp8Block < k(); ++j) {
      widen(n0, n1, j * kFp8Block, mine.block);
      const float scale = visit_float(
          a_.scale, [&]<class S>(S*) { return float(a_.scale.template as<S>()[n0 / kFp8Block * a_.scale.stride[0] + j]); });
      for (int64_t i = 0; i < m(); ++i)
        multiply(mine.block, x_ + i * pitch() + j * kFp8Block, scale, j == 0, mine.sums + i * kFp8Rows);
    }
    visit_float(a_.y, [&]<class Y>(Y*) {
      for (int64_t i = 0; i < m(); ++i)
        V::store_n(a_.y.template as<Y>() + i * a_.y.stride[0] + n0, V::load(mine.sums + i * kFp8Rows), int(n1 - n0));
    });
  }

  const QuantMatmulArgs& a_;
  Element* x_;
  std::byte* per_thread_;
};

template <class D>
Status fp8_matmul(Context& ctx, const QuantMatmulArgs& a, std::byte* scratch) {
  if (a.y.numel() != 0) Fp8Matmul<D>(a, scratch).run(*ctx.team);
  return {};
}

template <class D>
size_t fp8_workspace(const Context& ctx, const QuantMatmulArgs& a) {
  return Fp8Matmul<D>::x_bytes(a) + ctx.team->size() * Fp8Scratch<D>::bytes(a.x.shape[0]);
}

}  // namespace sluice
