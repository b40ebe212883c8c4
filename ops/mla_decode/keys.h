// The keys that a row sees, on the CPU: what the reference and the vector forms share.
#pragma once

#include <cstring>

#include "core/simd_plain.h"
#include "ops/mla_decode/mla_decode.h"

namespace sluice {

SLUICE_INLINE bool mla_fp8(const MlaDecodeArgs& a) { return dtype_size(a.kv.dtype) == 1; }

// Calls f with a null pointer of the type that keys are computed with: fp8 rows stand for bf16.
template <class F>
SLUICE_INLINE decltype(auto) visit_mla_key(const MlaDecodeArgs& a, F&& f) {
  return a.kv.dtype == DType::kF32 ? f(static_cast<float*>(nullptr)) : f(static_cast<Bf16*>(nullptr));
}

// The list of keys of query row `row`: positions of its sequence, or the entries of its indices.
class MlaKeyList {
 public:
  MlaKeyList(const MlaDecodeArgs& a, int64_t row);

  SLUICE_INLINE int64_t count() const { return count_; }             // of entries
  SLUICE_INLINE const int32_t* entries() const { return entries_; }  // slots, or the sequence's pages
  // The row of the cache that entry j names; null where it names none.
  SLUICE_INLINE const std::byte* at(int64_t j) const {
    const int64_t page_size = a_.kv.dim(1);
    const bool sparse = a_.indices.present();
    const int64_t page = sparse ? entries_[j] / page_size : entries_[j / page_size];
    const int64_t place = sparse ? entries_[j] % page_size : j % page_size;
    if (sparse && entries_[j] < 0) return nullptr;
    return static_cast<const std::byte*>(a_.kv.data) +
           (page * a_.kv.stride[0] + place * a_.kv.stride[1]) * int64_t(dtype_size(a_.kv.dtype));
  }

 private:
  const MlaDecodeArgs& a_;
  const int32_t* entries_;
  int64_t count_;
};

// The bf16 row that an fp8 one stands for.
inline void mla_read_fp8(const std::byte* row, int64_t latent, int64_t rope, Bf16* out) {
  const std::byte* scales = row + latent;
  for (int64_t d = 0; d < latent; ++d) {
    F8E4M3 x;
    x.bits = uint8_t(row[d]);
    float scale;
    std::memcpy(&scale, scales + d / kMlaScaleGroup * 4, sizeof scale);
    out[d] = Bf16(float(x) * scale);
  }
  std::memcpy(out + latent, scales + latent / kMlaScaleGroup * 4, size_t(rope) * sizeof(Bf16));
}

}  // namespace sluice
