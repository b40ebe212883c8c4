// Shows a tensor of a forward pass to its observer.
#pragma once

#include "core/memory.h"
#include "models/model.h"

namespace sluice {

inline Status show(Context& ctx, const LayerObserver& observe, int64_t layer, const Tensor& hidden) {
  if (!observe) return {};
  if (!hidden.on_gpu()) return observe(layer, hidden);
  std::vector<std::byte> bytes(hidden.bytes());
  SLUICE_RETURN_IF_ERROR(to_host(ctx, hidden.data, bytes.size(), bytes.data()));
  return observe(layer, Tensor(bytes.data(), hidden.dtype, {hidden.dim(0), hidden.dim(1)}));
}

}  // namespace sluice
