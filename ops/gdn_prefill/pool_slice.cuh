// What the forms for compute capability 9.0 and 10.0 share: heads of 128 by 128 in a pool, and where checkpoints lie. P has a
// call's parameters, U one value head's rows of a sequence, under the names that both forms use.
#pragma once

#include <cstdint>

namespace sluice::gdn_tuned {

inline constexpr int kDim = 128;  // K = V

// A unit's slice of the pool.
struct Pool {
  int64_t s;
  float *k, *u, *g;
  template <class P, class U>
  __device__ Pool(const P& p, const U& u)
      : s(u.slot * p.s_pitch + int64_t(u.head) * kDim * kDim),
        k(p.open_k + u.slot * p.k_pitch + int64_t(u.head / (p.HV / p.HK)) * p.capacity * kDim),
        u(p.open_u + u.slot * p.u_pitch + int64_t(u.head) * p.capacity * kDim),
        g(p.open_g + u.slot * p.g_pitch + int64_t(u.head) * p.capacity) {}
};

// Whether the unit's chunk c ends at a checkpoint.
template <class P, class U>
__device__ inline bool at_checkpoint(const P& p, const U& u, int c) {
  return p.checkpoint_chunks && c < u.whole && (u.position + c + 1) % p.checkpoint_chunks == 0;
}

}  // namespace sluice::gdn_tuned
