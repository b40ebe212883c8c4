// Both layouts are groups of [q | k | v | z] and of [b | a]: one group of all heads, or one group a key head.
#include <algorithm>
#include <cstring>

#include "ops/qkv_split/forms.h"

namespace sluice {
namespace {

// Reads a row from left to right and hands it out.
class RowReader {
 public:
  RowReader(const Tensor& from, int64_t row, int64_t column) : size_(int64_t(dtype_size(from.dtype))) {
    at_ = static_cast<const char*>(from.data) + (row * from.stride[0] + column) * size_;
  }
  // The next `heads` heads of `dim` elements go to to[row, first + 0 ...]; an absent tensor's are passed over.
  void take(const Tensor& to, int64_t row, int64_t first, int64_t heads, int64_t dim) {
    if (to.present()) {
      char* out = static_cast<char*>(to.data) + (row * to.stride[0] + first * to.stride[1]) * size_;
      if (to.stride[1] == dim) std::memcpy(out, at_, size_t(heads * dim * size_));
      else
        for (int64_t h = 0; h < heads; ++h) std::memcpy(out + h * to.stride[1] * size_, at_ + h * dim * size_, size_t(dim * size_));
    }
    at_ += heads * dim * size_;
  }

 private:
  const int64_t size_;  // bytes of an element
  const char* at_;
};

void split_row(const QkvSplitArgs& s, int64_t t) {
  const int64_t K = s.q.shape[2], HV = s.v.shape[1], V = s.v.shape[2];
  const bool whole = s.layout == QkvLayout::kConcatenated;
  const int64_t groups = whole ? 1 : s.q.shape[1], hk = s.q.shape[1] / groups, hv = HV / groups;
  const int64_t width = 2 * hk * K + 2 * hv * V;  // columns of a group
  for (int64_t g = 0; g < groups; ++g) {
    RowReader row(s.mixed, t, g * width);
    row.take(s.q, t, g * hk, hk, K);
    row.take(s.k, t, g * hk, hk, K);
    row.take(s.v, t, g * hv, hv, V);
    row.take(s.z, t, g * hv, hv, V);
    if (!s.b.present()) continue;
    RowReader ba = whole ? row : RowReader(s.ba, t, g * 2 * hv);
    ba.take(s.b, t, g * hv, hv, 1);
    ba.take(s.a, t, g * hv, hv, 1);
  }
}

}  // namespace

Status qkv_split_cpu(Context& ctx, const QkvSplitArgs& s, std::byte*) {
  constexpr int64_t kWorthAThread = 1 << 16;  // bytes: copying them takes some microseconds, as waking a thread does
  const int64_t row_bytes = s.mixed.shape[1] * int64_t(dtype_size(s.mixed.dtype));
  ctx.team->split(s.mixed.shape[0], kWorthAThread / std::max<int64_t>(row_bytes, 1), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) split_row(s, t);
  });
  return {};
}

}  // namespace sluice
