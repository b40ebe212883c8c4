#include "ops/causal_conv1d/sequences.h"

namespace sluice {

void check_sequences(ArgCheck& c, const Tensor& cu_seqlens, const Tensor& slots, int64_t rows, int64_t pool_slots) {
  c.rank("cu_seqlens", cu_seqlens, 1, 1).dtype("cu_seqlens", cu_seqlens, {DType::kI32}).inner_contiguous("cu_seqlens", cu_seqlens);
  c.that(cu_seqlens.shape[0] > 0, "cu_seqlens is empty, wanted one entry more than there are sequences");
  const int64_t sequences = cu_seqlens.shape[0] - 1;
  c.dtype("slots", slots, {DType::kI32}).shape("slots", slots, {sequences}).inner_contiguous("slots", slots);
  if (!c.status().ok() || cu_seqlens.device.kind != DeviceKind::kCpu) return;

  int64_t before = 0;
  for (int64_t b = 0; b <= sequences; ++b) {
    const int64_t at = cu_seqlens.as<int32_t>()[b];
    if (at < before || at > rows) {
      const std::string what = "cu_seqlens[" + std::to_string(b) + "] is " + std::to_string(at) + ", wanted " +
                               std::to_string(before) + " to " + std::to_string(rows);
      c.that(false, what.c_str());
      return;
    }
    before = at;
  }
  for (int64_t b = 0; b < sequences; ++b) {
    const int32_t slot = slots.as<int32_t>()[b];
    if (slot < pool_slots) continue;
    const std::string what =
        "slots[" + std::to_string(b) + "] is " + std::to_string(slot) + ", the pool has " + std::to_string(pool_slots);
    c.that(false, what.c_str());
    return;
  }
}

}  // namespace sluice
