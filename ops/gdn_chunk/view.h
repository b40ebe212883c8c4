// The arguments of gdn_prefill, gdn_decode and gdn_verify as plain pointers and strides, for the bodies.
//
// Filled in by code that is compiled for any CPU, so that the per-ISA files touch no inline function of another header.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/gdn_chunk/args.h"

namespace sluice::gdn {

// Rows [T, H, D]; strides in elements.
struct RowView {
  void* data = nullptr;
  bool bf16 = false;
  int64_t row_stride = 0, head_stride = 0;
};

// One layer's pool, dense within a slot.
struct StateView {
  float *s = nullptr, *k = nullptr, *u = nullptr, *g = nullptr;
  int64_t s_pitch = 0, k_pitch = 0, u_pitch = 0, g_pitch = 0;  // elements from slot to slot
};

// Copies of S on the way; `every` is 0 where there are none.
struct CheckpointView {
  float* s = nullptr;
  const int32_t* cu = nullptr;
  int64_t every = 0, pitch = 0;  // tokens; elements from copy to copy
};

struct View {
  int64_t B = 0, HK = 0, HV = 0, K = 0, V = 0;
  RowView q, k, v, o;
  const float *log_g = nullptr, *beta = nullptr;
  int64_t log_g_stride = 0, beta_stride = 0;  // elements from row to row
  const int32_t* cu_seqlens = nullptr;        // null: sequence b is row b alone
  const int32_t *start = nullptr, *slots = nullptr;
  const int32_t* has_state = nullptr;  // null: a sequence is new where start is 0
  StateView state;
  CheckpointView checkpoints;
  float scale = 0, l2_eps = 0;
  bool qk_l2norm = false;
  bool close = true;  // fold full chunks into S
};

enum class Closing : bool { kNever, kWhenFull };

// Where copies of S go on the way, as in GdnPrefillArgs.
struct Checkpoints {
  Tensor s, cu;
  int64_t every = 0;
};

View make_view(const GdnArgs& a, Closing closing, const Checkpoints& checkpoints = {});
RowView make_row_view(const Tensor& t);
StateView make_state_view(const GdnState& s);

}  // namespace sluice::gdn
