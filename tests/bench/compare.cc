#include "tests/bench/compare.h"

#include <cmath>
#include <cstring>

#if SLUICE_HAS_CUDA
#include <cuda_runtime_api.h>

#include "core/cuda/status.h"
#endif

namespace sluice::benching {
namespace {

// Elements from the first to behind the last.
int64_t span_of(const Tensor& t) {
  if (t.numel() == 0) return 0;
  int64_t last = 0;
  for (int d = 0; d < t.rank; ++d) last += (t.shape[d] - 1) * t.stride[d];
  return last + 1;
}

Status copy(std::byte* to, const Tensor& t, size_t size) {
#if SLUICE_HAS_CUDA
  if (t.on_gpu()) return cuda::to_status(cudaMemcpy(to, t.data, size, cudaMemcpyDeviceToHost), "copy of outputs from the GPU");
#endif
  std::memcpy(to, t.data, size);
  return {};
}

struct Sums {
  double off = 0, want = 0;  // squares
};

template <class A, class B>
void add(const A* got, int64_t got_stride, const B* want, int64_t want_stride, int64_t n, Sums& s) {
  for (int64_t i = 0; i < n; ++i) {
    const double g = float(got[i * got_stride]), w = float(want[i * want_stride]);
    s.off += (g - w) * (g - w), s.want += w * w;
  }
}

void add_rows(const Tensor& got, const Tensor& want, Sums& s) {
  if (got.rank > 1) {
    for (int64_t i = 0; i < got.shape[0]; ++i) add_rows(got[i], want[i], s);
    return;
  }
  const auto with = [&]<class A>(const A* g) {
    if (want.dtype == DType::kF32) add(g, got.stride[0], want.as<float>(), want.stride[0], got.shape[0], s);
    else add(g, got.stride[0], want.as<Bf16>(), want.stride[0], got.shape[0], s);
  };
  got.dtype == DType::kF32 ? with(got.as<float>()) : with(got.as<Bf16>());
}

}  // namespace

Result<std::vector<HostCopy>> copy_to_host(std::span<const Tensor> tensors) {
  std::vector<HostCopy> copies(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    HostCopy& c = copies[i];
    c.bytes.resize(size_t(span_of(tensors[i])) * dtype_size(tensors[i].dtype));
    SLUICE_RETURN_IF_ERROR(copy(c.bytes.data(), tensors[i], c.bytes.size()));
    c.tensor = tensors[i], c.tensor.data = c.bytes.data(), c.tensor.device = {};
  }
  return copies;
}

double difference(std::span<const HostCopy> got, std::span<const HostCopy> want) {
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    Sums s;
    const Tensor& w = want[i].tensor;
    add_rows(got[i].tensor.slice(0, 0, w.shape[0]), w, s);
    const double d = std::sqrt(s.off / (s.want > 0 ? s.want : 1));
    worst = std::isfinite(d) ? std::max(worst, d) : INFINITY;
  }
  return got.empty() ? INFINITY : worst;
}

}  // namespace sluice::benching
