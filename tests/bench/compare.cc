#include "tests/bench/compare.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <thread>

#if SLUICE_HAS_CUDA
#include <cuda_runtime_api.h>

#include "core/cuda/status.h"
#endif

namespace sluice::benching {
namespace {

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

// Calls f with the tensor's elements, typed.
template <class F>
void with_elements(const Tensor& t, F&& f) {
  switch (t.dtype) {
    case DType::kF32:
      return f(t.as<float>());
    case DType::kF16:
      return f(t.as<F16>());
    case DType::kBF16:
      return f(t.as<Bf16>());
    case DType::kF8E4M3:
      return f(t.as<F8E4M3>());
    case DType::kI32:
      return f(t.as<int32_t>());
    case DType::kI8:
      return f(t.as<int8_t>());
    default:
      return f(t.as<uint8_t>());
  }
}

// The same infinity on both sides is no difference.
template <class A, class B>
void add(const A* got, int64_t got_stride, const B* want, int64_t want_stride, int64_t n, Sums& s) {
  for (int64_t i = 0; i < n; ++i) {
    const double g = double(got[i * got_stride]), w = double(want[i * want_stride]);
    if (std::isinf(w) && g == w) continue;
    s.off += (g - w) * (g - w), s.want += w * w;
  }
}

void add_rows(const Tensor& got, const Tensor& want, Sums& s) {
  if (got.rank > 1) {
    for (int64_t i = 0; i < got.shape[0]; ++i) add_rows(got[i], want[i], s);
    return;
  }
  with_elements(got, [&](const auto* g) {
    with_elements(want, [&](const auto* w) { add(g, got.stride[0], w, want.stride[0], got.shape[0], s); });
  });
}

// Over the rows that `want` has. Outputs can be hundreds of megabytes, so every core takes a part of the rows.
Sums sums(const Tensor& got, const Tensor& want) {
  const int64_t rows = want.shape[0],
                parts = std::clamp<int64_t>(std::thread::hardware_concurrency(), 1, std::max<int64_t>(rows, 1));
  std::vector<Sums> part(static_cast<size_t>(parts));
  std::vector<std::jthread> threads;
  for (int64_t p = 0; p < parts; ++p)
    threads.emplace_back([&, p] {
      const int64_t begin = rows * p / parts, end = rows * (p + 1) / parts;
      add_rows(got.slice(0, begin, end), want.slice(0, begin, end), part[size_t(p)]);
    });
  threads.clear();  // waits
  Sums all;
  for (const Sums& s : part) all.off += s.off, all.want += s.want;
  return all;
}

}  // namespace

Result<std::vector<HostCopy>> copy_to_host(std::span<const Tensor> tensors) {
  std::vector<HostCopy> copies(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    HostCopy& c = copies[i];
    c.bytes.resize(tensors[i].span_bytes());
    SLUICE_RETURN_IF_ERROR(copy(c.bytes.data(), tensors[i], c.bytes.size()));
    c.tensor = tensors[i], c.tensor.data = c.bytes.data(), c.tensor.device = {};
  }
  return copies;
}

double difference(std::span<const HostCopy> got, std::span<const HostCopy> want) {
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const Sums s = sums(got[i].tensor, want[i].tensor);
    const double d = std::sqrt(s.off / (s.want > 0 ? s.want : 1));
    worst = std::isfinite(d) ? std::max(worst, d) : INFINITY;
  }
  return got.empty() ? INFINITY : worst;
}

}  // namespace sluice::benching
