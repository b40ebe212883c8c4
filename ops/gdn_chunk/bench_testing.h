// What the benches of the gated delta operators share: inputs and a pool, in memory like the engine's arena.
#pragma once

#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "core/buffer.h"
#include "ops/gdn_chunk/args.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {

class GdnProblem {
 public:
  // `lengths` rows a sequence; each has its slot.
  GdnProblem(int64_t HK, int64_t HV, int64_t K, int64_t V, const std::vector<int64_t>& lengths, const std::vector<int64_t>& starts)
      : memory_(Arena::reserve(size_t(1) << 30).value()) {
    const int64_t B = int64_t(lengths.size());
    cu_ = {0};
    for (int64_t n : lengths) cu_.push_back(cu_.back() + int32_t(n));
    for (int64_t b = 0; b < B; ++b) start_.push_back(int32_t(starts[b])), slots_.push_back(int32_t(b)), has_.push_back(1);
    const int64_t T = cu_.back();
    args_.q = normal({T, HK, K}), args_.k = normal({T, HK, K}), args_.v = normal({T, HV, V}), args_.o = normal({T, HV, V});
    args_.log_g = normal({T, HV}, [](float x) { return -0.05f * x * x; });
    args_.beta = normal({T, HV}, [](float x) { return 1 / (1 + x * x); });
    args_.state = {normal({B, HV, K, V}), normal({B, HK, K, 64}, [](float x) { return 0.1f * x; }), normal({B, HV, 64, V}),
                   normal({B, HV, 64}, [](float) { return -1.0f; })};
    args_.cu_seqlens = Tensor::of(cu_.data(), {B + 1}), args_.start = Tensor::of(start_.data(), {B});
    args_.slots = Tensor::of(slots_.data(), {B}), args_.has_state = Tensor::of(has_.data(), {B});
    args_.scale = 1 / std::sqrt(float(K)), args_.qk_l2norm = true;
  }
  const GdnArgs& args() const { return args_; }

  template <class F = float (*)(float)>
  Tensor normal(
      std::initializer_list<int64_t> shape, F&& f = [](float x) { return x; }) {
    const Tensor t = memory_.tensor(DType::kF32, shape);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < t.numel(); ++i) t.as<float>()[i] = f(normal(rng_));
    return t;
  }

 private:
  std::mt19937 rng_{1};
  Arena memory_;
  std::vector<int32_t> cu_, start_, slots_, has_;
  GdnArgs args_;
};

// Bytes a step moves: S, the open rows with its own, and the row's inputs and output.
inline double gdn_step_bytes(const GdnArgs& a, int64_t open, int64_t rows) {
  const double HK = double(a.k.dim(1)), HV = double(a.v.dim(1)), K = double(a.k.dim(2)), V = double(a.v.dim(2)),
               n = double(open + rows);
  return 4 * (HV * K * V + HK * K * n + HV * V * n + double(rows) * (2 * HK * K + 2 * HV * V));
}

// The floating point work of one token and head in a chunk: S^T k, S^T q and the closing are K V each, the dots K times, the
// corrections and outputs V times the mean 32.5 columns; twice that in operations.
inline double gdn_prefill_flops(const GdnArgs& a) {
  const double K = double(a.k.dim(2)), V = double(a.v.dim(2)), HK = double(a.k.dim(1)), HV = double(a.v.dim(1));
  return 2 * double(a.q.dim(0)) * (HV * (3 * K * V + 2 * V * 32.5) + HK * 2 * K * 32.5);
}

}  // namespace sluice::benching
