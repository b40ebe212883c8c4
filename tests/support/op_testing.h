// What the operator tests share: guarded random tensors, poisoned outputs, error measures, and a loop over implementations.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/context.h"
#include "core/impl.h"
#include "core/tensor.h"
#if SLUICE_HAS_CUDA
#include "core/cuda/runtime.h"
#include "core/cuda/staging.h"
#endif

namespace sluice::testing {

// One runtime a thread count for the whole test program.
inline Context& context(int threads = 2) {
  static std::map<int, std::unique_ptr<CpuRuntime>> runtimes;
  static std::map<int, Context> contexts;
  if (!runtimes.count(threads)) {
    runtimes[threads] = CpuRuntime::create(threads).value();
    contexts[threads] = runtimes[threads]->context();
  }
  return contexts[threads];
}

// Owns memory with margins of NaN bytes (0xff) around it and, where the strides leave gaps, inside it. margins_intact() tells
// whether anything wrote there. Contents start as 0xff too, which is NaN in every float type and -1 in integers.
class Storage {
 public:
  // row_stride: elements between rows of dimension 0; 0 for dense. offset: elements in front (2-byte misalignment for bf16).
  Storage(DType dtype, std::vector<int64_t> shape, int64_t row_stride = 0, int64_t offset = 0) {
    t_.dtype = dtype, t_.rank = int(shape.size());
    int64_t step = 1;
    for (int i = t_.rank - 1; i >= 0; --i) {
      t_.shape[i] = shape[i], t_.stride[i] = step;
      step *= shape[i];
      if (i == 1 && row_stride) step = row_stride;
    }
    const int64_t elements = shape.empty() ? 0 : (t_.rank == 1 ? shape[0] : shape[0] * t_.stride[0]);
    bytes_.assign((elements + offset) * dtype_size(dtype) + 2 * kMargin, std::byte{0xff});
    t_.data = bytes_.data() + kMargin + offset * dtype_size(dtype);
    owned_.assign(bytes_.size(), false);
    const auto own = [&](const void* p, size_t bytes) {
      std::fill_n(owned_.begin() + (static_cast<const char*>(p) - raw()), bytes, true);
    };
    if (t_.contiguous()) own(t_.data, t_.bytes());
    else for_each([&](char* p) { own(p, dtype_size(dtype)); });
  }
  const Tensor& tensor() const { return t_; }
  operator const Tensor&() const { return t_; }  // NOLINT: a storage is passed wherever its tensor is

  // Values in order of the dimensions, as doubles, whatever the dtype.
  std::vector<double> values() const {
    std::vector<double> v;
    const_cast<Storage*>(this)->for_each([&](char* p) { v.push_back(read(p)); });
    return v;
  }
  template <class F>
  void fill(F&& next) {
    for_each([&](char* p) { write(p, double(next())); });
  }
  bool margins_intact() const {
    const size_t begin = size_t(static_cast<const std::byte*>(t_.data) - bytes_.data());
    for (size_t i = 0; i < bytes_.size(); ++i) {
      if (i == begin && t_.contiguous()) i += t_.bytes();
      if (!owned_[i] && bytes_[i] != std::byte{0xff}) return false;
    }
    return true;
  }
  std::vector<std::byte> bytes() const { return bytes_; }

 private:
  static constexpr size_t kMargin = 128;  // bytes, two cache lines
  char* raw() { return reinterpret_cast<char*>(bytes_.data()); }
  template <class F>
  void for_each(F&& f) {
    std::array<int64_t, Tensor::kMaxRank> at{};
    if (t_.numel() == 0 || t_.rank == 0) return;
    for (;;) {
      int64_t e = 0;
      for (int d = 0; d < t_.rank; ++d) e += at[d] * t_.stride[d];
      f(static_cast<char*>(t_.data) + e * int64_t(dtype_size(t_.dtype)));
      int d = t_.rank - 1;
      while (d >= 0 && ++at[d] == t_.shape[d]) at[d--] = 0;
      if (d < 0) return;
    }
  }
  template <class T>
  static T at(const char* p) {
    T x;
    std::memcpy(&x, p, sizeof x);
    return x;
  }
  template <class T>
  static void put(char* p, T x) {
    std::memcpy(p, &x, sizeof x);
  }
  double read(const char* p) const {
    switch (t_.dtype) {
      case DType::kF32:
        return at<float>(p);
      case DType::kF64:
        return at<double>(p);
      case DType::kBF16:
        return float(at<Bf16>(p));
      case DType::kF16:
        return float(at<F16>(p));
      case DType::kF8E4M3:
        return float(at<F8E4M3>(p));
      case DType::kF8E5M2:
        return float(at<F8E5M2>(p));
      case DType::kI64:
        return double(at<int64_t>(p));
      case DType::kI32:
        return at<int32_t>(p);
      case DType::kI8:
        return at<int8_t>(p);
      case DType::kU8:
        return at<uint8_t>(p);
      default:
        ADD_FAILURE() << "no reader for " << dtype_name(t_.dtype);
        return 0;
    }
  }
  void write(char* p, double x) {
    switch (t_.dtype) {
      case DType::kF32:
        return put(p, float(x));
      case DType::kF64:
        return put(p, x);
      case DType::kBF16:
        return put(p, Bf16(float(x)));
      case DType::kF16:
        return put(p, F16(float(x)));
      case DType::kF8E4M3:
        return put(p, F8E4M3(float(x)));
      case DType::kF8E5M2:
        return put(p, F8E5M2(float(x)));
      case DType::kI64:
        return put(p, int64_t(x));
      case DType::kI32:
        return put(p, int32_t(x));
      case DType::kI8:
        return put(p, int8_t(x));
      case DType::kU8:
        return put(p, uint8_t(x));
      default:
        ADD_FAILURE() << "no writer for " << dtype_name(t_.dtype);
    }
  }
  Tensor t_;
  std::vector<std::byte> bytes_;
  std::vector<bool> owned_;
};

class Random {
 public:
  explicit Random(uint64_t seed) : rng_(seed) {}
  double normal(double mean = 0, double stddev = 1) { return std::normal_distribution<double>(mean, stddev)(rng_); }
  double uniform(double low, double high) { return std::uniform_real_distribution<double>(low, high)(rng_); }
  int64_t integer(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(rng_); }  // inclusive
  Storage normal(DType dtype, std::vector<int64_t> shape, double stddev = 1, int64_t row_stride = 0, int64_t offset = 0) {
    Storage s(dtype, std::move(shape), row_stride, offset);
    s.fill([&] { return normal(0, stddev); });
    return s;
  }

 private:
  std::mt19937_64 rng_;
};

inline Storage ints(const std::vector<int64_t>& v, DType dtype = DType::kI32) {
  Storage s(dtype, {int64_t(v.size())});
  size_t i = 0;
  s.fill([&] { return v[i++]; });
  return s;
}

struct Error {
  double rel_rms = 0;  // ||got - want|| / ||want||
  double max_rel = 0;  // max |got - want| / max |want|
};

// NaN anywhere in `got` gives infinite errors; an all-zero `want` is compared absolutely.
inline Error error(const std::vector<double>& got, const std::vector<double>& want) {
  EXPECT_EQ(got.size(), want.size());
  double d2 = 0, w2 = 0, dm = 0, wm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double d = got[i] - want[i];
    if (!std::isfinite(got[i]) && got[i] != want[i]) return {INFINITY, INFINITY};
    if (!std::isfinite(want[i])) continue;
    d2 += d * d, w2 += want[i] * want[i];
    dm = std::max(dm, std::abs(d)), wm = std::max(wm, std::abs(want[i]));
  }
  return {std::sqrt(d2 / (w2 > 0 ? w2 : 1)), dm / (wm > 0 ? wm : 1)};
}

struct Tolerance {
  double rel_rms, max_rel;
};

inline void expect_close(const Storage& got, const Storage& want, Tolerance limit, const std::string& what) {
  const Error e = error(got.values(), want.values());
  EXPECT_LE(e.rel_rms, limit.rel_rms) << what;
  EXPECT_LE(e.max_rel, limit.max_rel) << what;
  EXPECT_TRUE(got.margins_intact()) << what << ": wrote outside its output";
}

inline void expect_same_bits(const Storage& a, const Storage& b, const std::string& what) {
  EXPECT_EQ(a.bytes(), b.bytes()) << what;
}

// The GPU that tests run on, or null: none here, or a build without CUDA.
inline Context* gpu_context() {
#if SLUICE_HAS_CUDA
  static auto runtime = CudaRuntime::create(0);
  static Context ctx = runtime.ok() ? (*runtime)->context() : Context{};
  return runtime.ok() ? &ctx : nullptr;
#else
  return nullptr;
#endif
}

// Calls f(context, arguments) where the implementation runs: with the tensors' twins on the GPU for its kernels, and everything
// copied back.
template <class Args, class F>
Status where_it_runs([[maybe_unused]] const Impl<Args>& impl, const Args& args, int threads, F&& f) {
#if SLUICE_HAS_CUDA
  if constexpr (GpuArgs<Args>)
    if (is_gpu(impl.isa) && gpu_context())
      return cuda::staged(*gpu_context(), args, [&](const Args& a) { return f(*gpu_context(), a); });
#endif
  return f(context(threads), args);
}

// Whether this machine runs the implementation on these arguments.
template <class Args>
bool runs_here(const Impl<Args>& impl, const Args& args) {
  bool yes = false;
  const Status s = where_it_runs(impl, args, 1, [&](Context& ctx, const Args& a) {
    yes = can_run(impl, ctx, a).yes();
    return Status();
  });
  EXPECT_TRUE(s.ok()) << impl.name << ": " << s.to_string();
  return yes;
}

// The implementations of an operator that this machine can run on these arguments, its GPU's among them.
template <class Args>
std::vector<const Impl<Args>*> runnable(std::span<const Impl<Args>> impls, const Args& args) {
  std::vector<const Impl<Args>*> r;
  for (const auto& impl : impls)
    if (runs_here(impl, args)) r.push_back(&impl);
  return r;
}

template <class Args>
const Impl<Args>& impl_named(std::span<const Impl<Args>> impls, const std::string& name) {
  for (const auto& impl : impls)
    if (name == impl.name) return impl;
  ADD_FAILURE() << "no implementation called " << name;
  return impls[0];
}

template <class Args>
void run_ok(const Impl<Args>& impl, const Args& args, int threads = 2) {
  const Status s = where_it_runs(impl, args, threads, [&](Context& ctx, const Args& a) { return run_impl(impl, ctx, a); });
  ASSERT_TRUE(s.ok()) << impl.name << ": " << s.to_string();
}

}  // namespace sluice::testing
