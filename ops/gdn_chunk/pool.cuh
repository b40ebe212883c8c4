// Arguments as kernels take them.
#pragma once

#include "ops/gdn_chunk/step.cuh"

namespace sluice::gdn::gpu {

// Rows [T, H, D] or [T, D].
inline CallRows make_call_rows(const Tensor& t) {
  const int64_t bytes = 4 * int64_t(dtype_size(t.dtype));  // of four elements
  const bool strided = t.stride[0] % 4 != 0 || (t.rank == 3 && t.stride[1] % 4 != 0);
  const bool vector = reinterpret_cast<uintptr_t>(t.data) % bytes == 0 && !strided;
  return {make_row_view(t), vector};
}

// A state without open rows is one of the classic form.
inline Pool make_pool(const GdnState& s, int64_t HK) {
  Pool p{.s = s.s.data,
         .s_pitch = s.s.stride[0],
         .S = int(s.s.dim(0)),
         .HK = int(HK),
         .HV = int(s.s.dim(1)),
         .K = int(s.s.dim(2)),
         .V = int(s.s.dim(3))};
  if (!s.g.present()) return p;
  p.k = s.k.as<float>(), p.u = s.u.as<float>(), p.g = s.g.as<float>();
  p.k_pitch = s.k.stride[0], p.u_pitch = s.u.stride[0], p.g_pitch = s.g.stride[0];
  p.R = int(s.g.dim(2));
  return p;
}

}  // namespace sluice::gdn::gpu
