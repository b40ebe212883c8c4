// A view of memory: no ownership, passed by value. Maps one to one to DLPack.
//
// A Tensor of rank 0 is "absent", which is how optional arguments are left out; T = 0 rows is a present, empty tensor.
// Strides are in elements. Offsets are 64-bit throughout.
#pragma once

#include <array>
#include <cassert>
#include <initializer_list>
#include <string>
#include <utility>

#include "core/device.h"
#include "core/dtype.h"

namespace sluice {

// How a tensor of the same logical shape lies in a GPU's memory: as on the CPU, or with the last two dimensions in the other order.
// Contract headers say which, in each_tensor(args, f), which calls f(tensor) or f(tensor, GpuLayout) for every tensor of the
// arguments.
enum class GpuLayout : unsigned char { kAsIs, kSwapLastTwo };

struct Tensor {
  static constexpr int kMaxRank = 5;

  void* data = nullptr;
  DType dtype = DType::kF32;
  Device device{};
  int rank = 0;
  std::array<int64_t, kMaxRank> shape{}, stride{};

  Tensor() = default;

  // Row-major view of `data`.
  Tensor(void* data, DType dtype, std::initializer_list<int64_t> dims, Device device = {})
      : data(data), dtype(dtype), device(device), rank(int(dims.size())) {
    assert(dims.size() <= kMaxRank);
    int i = 0;
    for (int64_t d : dims) shape[i++] = d;
    set_row_major();
  }

  // Row-major view of typed memory: Tensor::of(p, {T, D}). A const pointer is accepted for inputs; operators write outputs only.
  template <class T>
  static Tensor of(const T* p, std::initializer_list<int64_t> dims) {
    return Tensor(const_cast<T*>(p), DTypeOf<T>::value, dims);
  }

  bool present() const { return rank > 0; }
  int64_t dim(int i) const { return shape[i]; }
  int64_t numel() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= shape[i];
    return n;
  }
  size_t bytes() const { return size_t(numel()) * dtype_size(dtype); }
  // Bytes from the first element to behind the last.
  size_t span_bytes() const {
    if (numel() == 0) return 0;
    int64_t last = 0;
    for (int i = 0; i < rank; ++i) last += (shape[i] - 1) * stride[i];
    return size_t(last + 1) * dtype_size(dtype);
  }

  template <class T>
  T* as() const {
    assert(dtype_size(dtype) == sizeof(T));
    return static_cast<T*>(data);
  }

  bool contiguous() const {
    int64_t expected = 1;
    for (int i = rank - 1; i >= 0; --i) {
      if (shape[i] != 1 && stride[i] != expected) return false;
      expected *= shape[i];
    }
    return true;
  }
  // The last dimension can be read as one run.
  bool inner_contiguous() const { return rank > 0 && (stride[rank - 1] == 1 || shape[rank - 1] <= 1); }

  // Elements [begin, end) of dimension `d`.
  Tensor slice(int d, int64_t begin, int64_t end) const {
    assert(d < rank && 0 <= begin && begin <= end && end <= shape[d]);
    Tensor t = *this;
    t.data = offset_by(begin * stride[d]);
    t.shape[d] = end - begin;
    return t;
  }

  // One element of dimension 0, rank reduced by one.
  Tensor operator[](int64_t i) const {
    assert(rank > 1 && 0 <= i && i < shape[0]);
    Tensor t = *this;
    t.data = offset_by(i * stride[0]);
    t.rank = rank - 1;
    for (int d = 0; d < t.rank; ++d) t.shape[d] = shape[d + 1], t.stride[d] = stride[d + 1];
    return t;
  }

  // Splits the last (inner-contiguous) dimension into [.., outer, inner].
  Tensor split_last(int64_t outer, int64_t inner) const {
    assert(rank < kMaxRank && outer * inner == shape[rank - 1]);
    Tensor t = *this;
    t.shape[rank - 1] = outer, t.shape[rank] = inner;
    t.stride[rank] = stride[rank - 1], t.stride[rank - 1] = inner * stride[rank - 1];
    ++t.rank;
    return t;
  }

  // The last two dimensions in the other order, same memory.
  Tensor swap_last_two() const {
    assert(rank >= 2);
    Tensor t = *this;
    std::swap(t.shape[rank - 2], t.shape[rank - 1]), std::swap(t.stride[rank - 2], t.stride[rank - 1]);
    return t;
  }

  bool on_gpu() const { return device.kind == DeviceKind::kCuda; }

  // The strides of a tensor as a layout has them: the last two dimensions change places within what they span.
  Tensor laid_out(GpuLayout layout) const {
    Tensor t = *this;
    if (layout == GpuLayout::kSwapLastTwo) t.stride[rank - 2] = 1, t.stride[rank - 1] = shape[rank - 2];
    return t;
  }

  // A contiguous tensor seen with other dimensions.
  Tensor reshape(std::initializer_list<int64_t> dims) const {
    assert(contiguous());
    Tensor t(data, dtype, dims, device);
    assert(t.numel() == numel());
    return t;
  }

  std::string shape_string() const {
    std::string s = "[";
    for (int i = 0; i < rank; ++i) s += (i ? ", " : "") + std::to_string(shape[i]);
    return s + "]";
  }

 private:
  void set_row_major() {
    int64_t step = 1;
    for (int i = rank - 1; i >= 0; --i) stride[i] = step, step *= shape[i];
  }
  void* offset_by(int64_t elements) const { return static_cast<char*>(data) + elements * int64_t(dtype_size(dtype)); }
};

}  // namespace sluice
