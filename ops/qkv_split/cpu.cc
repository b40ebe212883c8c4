// Both layouts are groups of [q | k | v | z] and of [b | a]: one group of all heads, or one group a key head.
#include <algorithm>
#include <cstring>

#include "ops/qkv_split/forms.h"

namespace sluice {
namespace {

// Copies `n` elements of `size` bytes that lie `step` bytes apart.
template <int64_t Size>
void gather(char* to, const char* from, int64_t n, int64_t step) {
  for (int64_t i = 0; i < n; ++i) std::memcpy(to + i * Size, from + i * step, Size);
}

// Reads a row from left to right and hands it out.
class RowReader {
 public:
  RowReader(const Tensor& from, int64_t row, int64_t column)
      : size_(int64_t(dtype_size(from.dtype))), step_(from.inner_contiguous() ? size_ : from.stride[1] * size_) {
    at_ = static_cast<const char*>(from.data) + row * from.stride[0] * size_ + column * step_;
  }
  // The next `heads` heads of `dim` elements go to to[row, first + 0 ...]; an absent tensor's are passed over.
  void take(const Tensor& to, int64_t row, int64_t first, int64_t heads, int64_t dim) {
    if (to.present()) {
      char* out = static_cast<char*>(to.data) + (row * to.stride[0] + first * to.stride[1]) * size_;
      if (to.stride[1] == dim) copy(out, at_, heads * dim);
      else
        for (int64_t h = 0; h < heads; ++h) copy(out + h * to.stride[1] * size_, at_ + h * dim * step_, dim);
    }
    at_ += heads * dim * step_;
  }

 private:
  void copy(char* to, const char* from, int64_t n) const {
    if (step_ == size_) std::memcpy(to, from, size_t(n * size_));
    else if (size_ == 4) gather<4>(to, from, n, step_);
    else gather<2>(to, from, n, step_);
  }

  const int64_t size_, step_;  // bytes of an element, and from one to the next
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
