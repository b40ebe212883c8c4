// Where rows lie in a cache, and what all forms of its writers share. For the CPU and for kernels.
#pragma once

#include <bit>

#include "base/status.h"
#include "core/simd_plain.h"
#include "ops/mla_kv_store/mla_cache.h"

namespace sluice {

// A tensor [n] of i32 or i64.
struct IndexView {
  const void* data = nullptr;
  int64_t stride = 1;  // elements
  bool wide = false;   // i64

  IndexView() = default;
  explicit IndexView(const Tensor& t) : data(t.data), stride(t.stride[0]), wide(t.dtype == DType::kI64) {}
  SLUICE_INLINE constexpr int64_t operator[](int64_t i) const {
    return wide ? static_cast<const int64_t*>(data)[i * stride] : static_cast<const int32_t*>(data)[i * stride];
  }
};

// Rows [T, D] or [T, 1, D].
struct MlaRows {
  std::byte* data = nullptr;
  int64_t count = 0, length = 0, stride = 0;  // stride in bytes

  MlaRows() = default;
  explicit MlaRows(const Tensor& t)
      : data(static_cast<std::byte*>(t.data)),
        count(t.shape[0]),
        length(t.present() ? t.shape[t.rank - 1] : 0),
        stride(t.stride[0] * int64_t(dtype_size(t.dtype))) {}
  template <class T>
  SLUICE_INLINE constexpr T* row(int64_t r) const {
    return static_cast<T*>(static_cast<void*>(data + r * stride));
  }
};

struct MlaSlots {
  std::byte* data = nullptr;
  int64_t slots = 0, page_stride = 0, row_stride = 0;  // strides in bytes
  int64_t skip = -1, locations = 0;                    // locations: the number of slots of all shards
  uint32_t page = 1, rank = 0, world = 1;

  MlaSlots() = default;
  MlaSlots(const MlaCache& cache, int64_t skip, int rank, int world) : skip(skip), rank(uint32_t(rank)), world(uint32_t(world)) {
    const Tensor& rows = cache.rows;
    const int64_t size = int64_t(dtype_size(rows.dtype));
    data = static_cast<std::byte*>(rows.data);
    page = rows.rank == 3 ? uint32_t(rows.shape[1]) : 1;
    slots = rows.shape[0] * page, locations = slots * world;
    page_stride = rows.stride[0] * size, row_stride = rows.rank == 3 ? rows.stride[1] * size : 0;
  }
  // Where a location's row begins, in bytes; -1 where nothing is to be written.
  SLUICE_INLINE constexpr int64_t offset(int64_t loc) const {
    if (loc < 0 || loc == skip || loc >= locations) return -1;
    const uint32_t slot = uint32_t(loc) / world, at = slot / page;
    if (uint32_t(loc) - slot * world != rank) return -1;
    return at * page_stride + (slot - at * page) * row_stride;
  }
  // The row; null where nothing is to be written.
  SLUICE_INLINE constexpr std::byte* row(int64_t loc) const {
    const int64_t at = offset(loc);
    return at < 0 ? nullptr : data + at;
  }
};
inline constexpr int64_t kMostMlaLocations = int64_t(1) << 32;  // of MlaSlots: divisions of 32 bits are a fraction of those of 64

// V32's scale 2^e of a group, from its amax, as the biased exponent of the fp32 number: the least e from -13 (2^-13 is 1e-4 rounded
// up) with amax <= 448 * 2^e, found in amax' bits. 448 is 1.75 * 2^8: a mantissa above 1.75 carries into the exponent.
SLUICE_INLINE constexpr uint32_t mla_v32_exponent(float amax) {
  constexpr uint32_t kBias = 127, kLeast = kBias - 13, kCarry = 0x7fffff - 0x600000;
  const uint32_t e = ((std::bit_cast<uint32_t>(amax) + kCarry) >> 23) - 8;
  return int32_t(e) < int32_t(kLeast) ? kLeast : e;
}
SLUICE_INLINE constexpr float mla_power_of_2(uint32_t biased_exponent) { return std::bit_cast<float>(biased_exponent << 23); }

// Calls f with a null pointer of the element type: visit_mla_value(t, [&]<class T>(T*) { ... }).
template <class F>
decltype(auto) visit_mla_value(const Tensor& t, F&& f) {
  if (t.dtype == DType::kBF16) return f(static_cast<Bf16*>(nullptr));
  if (t.dtype == DType::kF16) return f(static_cast<F16*>(nullptr));
  return f(static_cast<float*>(nullptr));
}

class ArgCheck;
// What is asked of a cache, shard `rank` of `world`, that rows of latent_dim | rope_dim elements are written to; of the locations.
void check_mla_cache(ArgCheck& c, const MlaCache& cache, int64_t latent_dim, int64_t rope_dim, int rank, int world);
Status check_mla_locations(const char* op, const Tensor& loc, const MlaSlots& slots);

}  // namespace sluice
