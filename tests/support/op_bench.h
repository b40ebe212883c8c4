// What the operator benches share: one description of a case serves the CPU (Google Benchmark) and a GPU (tests/bench/gpu.cc).
//
//   bench<L2normArgs>({"l2norm", "512x16x128", Where::kBoth}, {l2norm_impls(), check_l2norm}, [](Inputs& in) {
//     const Tensor x = in.normal(DType::kF32, {512, 16, 128}), y = in.output(DType::kF32, {512, 16, 128});
//     return Call<L2normArgs>{.args = {.x = x, .y = y}, .work = {.bytes = 8.0 * y.numel()}, .outputs = {y}};
//   });
//
// A case is described when the program starts and made when it is measured. Compare within one run only: machines are shared.
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "core/context.h"
#include "core/impl.h"
#if SLUICE_HAS_CUDA
#include "core/cuda/tune.h"
#endif

namespace sluice::benching {

// Random contents by number and type of the tensor, so that further sets of a case's inputs cost no more drawing.
using Patterns = std::map<std::pair<int64_t, DType>, std::vector<std::byte>>;

// Where inputs live. A failure is kept in `status` and gives null memory.
class Memory {
 public:
  explicit Memory(std::shared_ptr<Patterns> patterns) : patterns(std::move(patterns)) {}
  virtual ~Memory() = default;
  virtual Device device() const = 0;
  virtual std::byte* allocate(size_t bytes) = 0;
  // Fills memory with a pattern, over and over.
  virtual void repeat(std::byte* at, size_t bytes, std::span<const std::byte> pattern) = 0;

  Status status;
  size_t bytes = 0;  // allocated so far
  std::shared_ptr<Patterns> patterns;
};

class HostMemory : public Memory {
 public:
  explicit HostMemory(std::shared_ptr<Patterns> patterns = std::make_shared<Patterns>()) : Memory(std::move(patterns)) {}
  Device device() const override { return {}; }
  std::byte* allocate(size_t size) override {
    auto b = Buffer::allocate(std::max<size_t>(size, 1));
    if (!b.ok()) return status = b.status(), nullptr;
    bytes += size;
    return buffers_.emplace_back(std::move(b).value()).data();
  }
  void repeat(std::byte* at, size_t size, std::span<const std::byte> pattern) override {
    for (size_t done = 0; done < size; done += pattern.size())
      std::memcpy(at + done, pattern.data(), std::min(pattern.size(), size - done));
  }

 private:
  std::vector<Buffer> buffers_;
};

// Makes tensors. Every set of inputs of a case has the same contents, on the CPU as on a GPU.
class Inputs {
 public:
  // `step`: which call of its cycle this one is, for cases whose calls differ by position; -1: the last. `most`: sequences() at
  // most.
  explicit Inputs(Memory& memory, int64_t step = 0, int64_t most = INT64_MAX) : memory_(memory), step_(step), most_(most) {}

  int64_t step(int64_t cycle) const { return (step_ + cycle) % cycle; }
  // How many of a case's sequences are wanted: all, or the first few, which are the same, where a slow form checks them.
  int64_t sequences(int64_t all) const { return std::min(all, most_); }
  bool on_gpu() const { return memory_.device().kind == DeviceKind::kCuda; }

  // f(x) of standard normal x.
  Tensor normal(DType dtype, std::initializer_list<int64_t> shape, const std::function<float(float)>& f = {},
                GpuLayout layout = GpuLayout::kAsIs) {
    const Tensor t = make(dtype, shape, layout);
    if (!t.data || t.numel() == 0) return t;
    const size_t count = size_t(std::min<int64_t>(t.numel(), int64_t(base().size())));
    auto& pattern = (*memory_.patterns)[{made_, dtype}];
    if (pattern.size() < count * dtype_size(dtype)) pattern = draw(dtype, count, f);
    fill(t, pattern, layout);
    return t;
  }
  // As normal(), but fp32 on the CPU, where pools have no other type: the values are those of `dtype`.
  Tensor pool(DType dtype, std::initializer_list<int64_t> shape, const std::function<float(float)>& f, GpuLayout layout) {
    if (on_gpu() || dtype == DType::kF32) return normal(dtype, shape, f, layout);
    return normal(
        DType::kF32, shape, [&](float x) { return float(Bf16(f(x))); }, layout);
  }
  template <class T>
  Tensor of(const std::vector<T>& values) {
    const Tensor t = make(DTypeOf<T>::value, {int64_t(values.size())}, GpuLayout::kAsIs);
    if (t.data) memory_.repeat(static_cast<std::byte*>(t.data), t.bytes(), std::as_bytes(std::span(values)));
    return t;
  }
  Tensor ints(const std::vector<int32_t>& values) { return of(values); }
  // 0, 1, 2, ...
  Tensor count(int64_t n) {
    std::vector<int32_t> v;
    for (int64_t i = 0; i < n; ++i) v.push_back(int32_t(i));
    return ints(v);
  }
  // Contents are NaN.
  Tensor output(DType dtype, std::initializer_list<int64_t> shape, GpuLayout layout = GpuLayout::kAsIs) {
    const Tensor t = make(dtype, shape, layout);
    const std::vector<std::byte> poison(4096, std::byte{0xff});  // a page
    if (t.data) memory_.repeat(static_cast<std::byte*>(t.data), t.bytes(), poison);
    return t;
  }

 private:
  // Their number is prime, so that no row of a large tensor is the same as its neighbours.
  static const std::vector<float>& base() {
    static const std::vector<float> values = [] {
      std::mt19937 rng(1);
      std::normal_distribution<float> normal;
      std::vector<float> v(1000003);
      for (float& x : v) x = normal(rng);
      return v;
    }();
    return values;
  }
  std::vector<std::byte> draw(DType dtype, size_t count, const std::function<float(float)>& f) const {
    std::vector<std::byte> pattern(count * dtype_size(dtype));
    for (size_t i = 0; i < count; ++i) {
      const float x = base()[(i + size_t(made_) * 104729) % base().size()], y = f ? f(x) : x;  // each tensor begins elsewhere
      if (dtype == DType::kF32) std::memcpy(&pattern[4 * i], &y, 4);
      else if (dtype == DType::kF16) new (&pattern[2 * i]) F16(y);
      else if (dtype == DType::kF8E4M3) new (&pattern[i]) F8E4M3(y);
      else new (&pattern[2 * i]) Bf16(y);
    }
    return pattern;
  }
  Tensor make(DType dtype, std::initializer_list<int64_t> shape, GpuLayout layout) {
    Tensor t(nullptr, dtype, shape, memory_.device());
    t.data = memory_.allocate(t.bytes());
    ++made_;
    if (layout == GpuLayout::kSwapLastTwo && on_gpu()) t.stride[t.rank - 2] = 1, t.stride[t.rank - 1] = t.shape[t.rank - 2];
    return t;
  }
  // Memory in a GPU's order; on the CPU the same values in the CPU's.
  void fill(const Tensor& t, std::span<const std::byte> pattern, GpuLayout layout) {
    auto* data = static_cast<std::byte*>(t.data);
    if (layout == GpuLayout::kAsIs || on_gpu()) return memory_.repeat(data, t.bytes(), pattern);
    const int64_t rows = t.shape[t.rank - 2], columns = t.shape[t.rank - 1], size = int64_t(dtype_size(t.dtype));
    for (int64_t i = 0; i < t.numel(); ++i) {
      const int64_t r = i / columns % rows, c = i % columns, in_gpu_order = i / (rows * columns) * rows * columns + c * rows + r;
      std::memcpy(data + i * size, &pattern[size_t(in_gpu_order * size) % pattern.size()], size_t(size));
    }
  }

  Memory& memory_;
  int64_t step_, most_;
  int64_t made_ = 0;
};

struct Work {
  double bytes = 0, flops = 0;  // of one call: what must move, what must be computed
};

template <class Args>
struct Call {
  Args args;
  Work work;
  std::vector<Tensor> outputs{};  // by which forms are compared
  std::vector<Tensor> weights{};  // written long before the call: a kernel may read them ahead of its wait for the one before it
  double limit = 8e-3;            // on their relative RMS difference: the contract's for bf16 unless said otherwise
  size_t state_bytes = 0;         // what the call keeps for the next one
  int64_t cycle = 1;              // calls differ by position with this period: a mean over whole periods is measured
  std::string peer{};             // the cell of docs/performance/peers-*.json that measures the same
};

// A call without its argument type. Forms are numbered as in the operator's list.
class AnyCall {
 public:
  virtual ~AnyCall() = default;
  virtual Status check() const = 0;
  virtual Can can(size_t form, const Context& ctx) const = 0;
  virtual size_t workspace(size_t form, const Context& ctx) const = 0;
  virtual Status run(size_t form, Context& ctx) const = 0;
#if SLUICE_HAS_CUDA
  // Of a form that has tiles, on copies of the call's tensors.
  virtual Result<std::vector<cuda::TileTime>> time_tiles(size_t form, const std::string& op, const Context& ctx) const = 0;
#endif

  Work work;
  std::vector<Tensor> outputs, weights;
  double limit = 0;
  size_t state_bytes = 0;
  int64_t cycle = 1;
  std::string peer;
};

enum class Where { kCpu, kGpu, kBoth };

struct Name {
  std::string op, label;
  Where where = Where::kCpu;
};

struct Case {
  Name name;
  std::vector<ImplInfo> forms;
  std::function<std::unique_ptr<AnyCall>(Inputs&)> make;
  bool on(DeviceKind kind) const {
    return name.where == Where::kBoth || (name.where == Where::kGpu) == (kind == DeviceKind::kCuda);
  }
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

template <class Args>
struct Forms {
  std::span<const Impl<Args>> impls;
  Status (*check)(const Args&) = nullptr;
};

template <class Args>
class TypedCall : public AnyCall {
 public:
  TypedCall(Call<Args> call, Forms<Args> forms) : args_(std::move(call.args)), forms_(forms) {
    work = call.work, outputs = std::move(call.outputs), weights = std::move(call.weights), limit = call.limit,
    state_bytes = call.state_bytes, cycle = call.cycle;
    peer = std::move(call.peer);
  }
  Status check() const override { return forms_.check ? forms_.check(args_) : Status(); }
  Can can(size_t form, const Context& ctx) const override { return can_run(forms_.impls[form], ctx, args_); }
  size_t workspace(size_t form, const Context& ctx) const override {
    const auto& impl = forms_.impls[form];
    return impl.workspace ? impl.workspace(ctx, args_) : 0;
  }
  Status run(size_t form, Context& ctx) const override { return run_impl(forms_.impls[form], ctx, args_); }
#if SLUICE_HAS_CUDA
  Result<std::vector<cuda::TileTime>> time_tiles(size_t form, const std::string& op, const Context& ctx) const override {
    if constexpr (GpuArgs<Args>) return cuda::time_tiles(ctx, op, forms_.impls[form], args_);
    else return Status(Code::kUnsupported, op + " has no GPU form");
  }
#endif

 private:
  Args args_;
  Forms<Args> forms_;
};

template <class Args>
void bench(Name name, Forms<Args> forms, std::function<Call<Args>(Inputs&)> make) {
  cases().push_back(
      {.name = std::move(name), .forms = describe_op("", forms.impls).impls, .make = [=](Inputs& in) -> std::unique_ptr<AnyCall> {
         return std::make_unique<TypedCall<Args>>(make(in), forms);
       }});
}

// On the CPU alone, with arguments that exist already. `owner` keeps the memory behind them alive.
template <class Args>
void bench_impls(const std::string& op, const std::string& label, std::span<const Impl<Args>> impls, const Args& args, Work work,
                 std::shared_ptr<void> owner) {
  bench<Args>({op, label, Where::kCpu}, {impls}, [args, work, owner](Inputs&) { return Call<Args>{.args = args, .work = work}; });
}

// The CPU's context, one for the whole program.
inline Context& context() {
  static auto runtime = CpuRuntime::create(0).value();
  static Context ctx = runtime->context();
  return ctx;
}

}  // namespace sluice::benching
