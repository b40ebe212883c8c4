// What the benches of the gated delta operators share: inputs, a pool, and what a call moves and computes.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "ops/gdn_chunk/args.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {

struct GdnProblem {
  int64_t HK, HV, K, V;
  std::vector<int64_t> lengths;   // rows of each sequence
  std::vector<int64_t> starts{};  // empty: 0
  DType io = DType::kF32, state = DType::kF32;
  int64_t R = kChunk;  // rows that a chunk may leave open
};

inline std::vector<int32_t> to_int32(const std::vector<int64_t>& v) { return {v.begin(), v.end()}; }

// Every sequence has its slot and a state to go on from. q and k are of length 1, about, as after l2norm.
inline GdnArgs gdn_inputs(Inputs& in, const GdnProblem& p) {
  const int64_t B = int64_t(p.lengths.size());
  std::vector<int32_t> cu{0};
  for (const int64_t n : p.lengths) cu.push_back(cu.back() + int32_t(n));
  const int64_t T = cu.back();
  const DType f = DType::kF32;
  const auto unit = [&](float x) { return x / std::sqrt(float(p.K)); };
  const auto small = [](float x) { return 0.1f * x; };
  GdnArgs a{
      .q = in.normal(p.io, {T, p.HK, p.K}, unit), .k = in.normal(p.io, {T, p.HK, p.K}, unit), .v = in.normal(p.io, {T, p.HV, p.V})};
  a.log_g = in.normal(f, {T, p.HV}, [](float x) { return -std::log1p(std::exp(x - 3)); });  // softplus, decays as in trained models
  a.beta = in.normal(f, {T, p.HV}, [](float x) { return 1 / (1 + std::exp(-x)); });
  a.cu_seqlens = in.ints(cu), a.start = in.ints(p.starts.empty() ? std::vector<int32_t>(size_t(B), 0) : to_int32(p.starts));
  a.slots = in.count(B), a.has_state = in.ints(std::vector<int32_t>(size_t(B), 1));
  a.state = {in.pool(p.state, {B, p.HV, p.K, p.V}, small, GpuLayout::kSwapLastTwo),
             in.normal(f, {B, p.HK, p.K, p.R}, unit, GpuLayout::kSwapLastTwo), in.normal(f, {B, p.HV, p.R, p.V}, small),
             in.normal(f, {B, p.HV, p.R}, [](float) { return -1.0f; })};
  a.o = in.output(p.io, {T, p.HV, p.V});
  a.scale = 1 / std::sqrt(float(p.K));
  return a;
}

template <class Args>
Args gdn_args(const GdnArgs& common) {
  Args a;
  static_cast<GdnArgs&>(a) = common;
  return a;
}

// Inputs and output of all rows.
inline double gdn_row_bytes(const GdnArgs& a) {
  return double(a.q.bytes() + a.k.bytes() + a.v.bytes() + a.o.bytes() + a.log_g.bytes() + a.beta.bytes());
}

// A step reads S and the open rows, and writes its own rows; S is written when `closes` of the steps of a cycle (0 to 1) close a
// chunk.
inline double gdn_step_bytes(const GdnArgs& a, double open, double rows, double closes) {
  const double B = double(a.slots.dim(0)), HK = double(a.state.k.dim(1)), HV = double(a.state.s.dim(1)),
               K = double(a.state.s.dim(2)), V = double(a.state.s.dim(3));
  return double(a.state.s.bytes()) * (1 + closes) + 4 * B * (open + rows) * (HK * K + HV * V + HV) + gdn_row_bytes(a);
}

// The floating point work of one token and head in a chunk: S^T k, S^T q and the closing are K V each, the dots K times, the
// corrections and outputs V times the mean 32.5 columns; twice that in operations.
inline double gdn_prefill_flops(const GdnArgs& a) {
  const double K = double(a.k.dim(2)), V = double(a.v.dim(2)), HK = double(a.k.dim(1)), HV = double(a.v.dim(1));
  return 2 * double(a.q.dim(0)) * (HV * (3 * K * V + 2 * V * 32.5) + HK * 2 * K * 32.5);
}

// The same on tensor cores: whole 64 x 64 blocks for each value head, three products with S and two each along K and V.
inline double gdn_prefill_tile_flops(const GdnArgs& a) {
  const double K = double(a.k.dim(2)), V = double(a.v.dim(2)), HV = double(a.v.dim(1)), C = kChunk;
  return 2 * double(a.q.dim(0)) * HV * (3 * K * V + 2 * C * (K + V));
}

inline std::string heads_label(int64_t HK, int64_t HV) { return std::to_string(HK) + "," + std::to_string(HV); }
inline std::string state_label(DType t) { return t == DType::kF32 ? "fp32" : "bf16"; }

// Batches and shapes of the decode tables; K = V = 128.
struct Heads {
  int64_t HK, HV;
};
inline constexpr Heads kGpuDecodeHeads[] = {{16, 64}, {16, 32}, {4, 16}};
inline constexpr int64_t kGpuDecodeBatches[] = {1, 8, 32, 64, 128, 256};
inline constexpr int64_t kGpuOpenRows = 16;  // a GPU closes its chunks in parts of this

}  // namespace sluice::benching
