#include <cstring>

#include "ops/qkv_split/forms.h"

namespace sluice {
namespace {

// Column of element (head, d) within a row of `mixed` (or `ba`), where each key head's share is a block of its own.
struct Block {
  int64_t pitch, at;        // columns of a key head's block; where the tensor begins in it
  int64_t heads_per_block;  // 1 for q and k, r for the others
  int64_t dim;
  int64_t column(int64_t head, int64_t d) const { return head / heads_per_block * pitch + at + head % heads_per_block * dim + d; }
};

void take(const Tensor& from, const Tensor& to, const Block& block) {
  if (!to.present()) return;
  const size_t size = dtype_size(from.dtype);
  const auto at = [&](const Tensor& x, int64_t element) { return static_cast<char*>(x.data) + element * int64_t(size); };
  const bool per_head = to.rank == 3;
  for (int64_t t = 0; t < to.shape[0]; ++t)
    for (int64_t h = 0; h < to.shape[1]; ++h)
      for (int64_t d = 0; d < block.dim; ++d)
        std::memcpy(at(to, t * to.stride[0] + h * to.stride[1] + (per_head ? d * to.stride[2] : 0)),
                    at(from, t * from.stride[0] + block.column(h, d) * from.stride[1]), size);
}

}  // namespace

Status qkv_split_reference(Context&, const QkvSplitArgs& s, std::byte*) {
  const int64_t HK = s.q.shape[1], K = s.q.shape[2], HV = s.v.shape[1], V = s.v.shape[2];
  if (s.layout == QkvLayout::kConcatenated) {
    const int64_t v_at = 2 * HK * K, z_at = v_at + HV * V, b_at = z_at + HV * V;
    take(s.mixed, s.q, {0, 0, HK, K});
    take(s.mixed, s.k, {0, HK * K, HK, K});
    take(s.mixed, s.v, {0, v_at, HV, V});
    take(s.mixed, s.z, {0, z_at, HV, V});
    take(s.mixed, s.b, {0, b_at, HV, 1});
    take(s.mixed, s.a, {0, b_at + HV, HV, 1});
    return {};
  }
  const int64_t r = HV / HK, pitch = 2 * K + 2 * r * V;
  take(s.mixed, s.q, {pitch, 0, 1, K});
  take(s.mixed, s.k, {pitch, K, 1, K});
  take(s.mixed, s.v, {pitch, 2 * K, r, V});
  take(s.mixed, s.z, {pitch, 2 * K + r * V, r, V});
  take(s.ba, s.b, {2 * r, 0, r, 1});
  take(s.ba, s.a, {2 * r, r, r, 1});
  return {};
}

}  // namespace sluice
