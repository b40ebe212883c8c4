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

double value(int32_t x) { return x; }
double value(float x) { return double(x); }
double value(Bf16 x) { return double(float(x)); }

struct Sums {
  double off = 0, want = 0;  // squares
};

template <class A, class B>
void add(const A* got, int64_t got_stride, const B* want, int64_t want_stride, int64_t n, Sums& s) {
  for (int64_t i = 0; i < n; ++i) {
    const double g = value(got[i * got_stride]), w = value(want[i * want_stride]);
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
  if (got.dtype == DType::kI32) add(got.as<int32_t>(), got.stride[0], want.as<int32_t>(), want.stride[0], got.shape[0], s);
  else got.dtype == DType::kF32 ? with(got.as<float>()) : with(got.as<Bf16>());
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
