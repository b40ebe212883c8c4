// Qwen3.5 and Qwen3.6, dense: gated delta layers with full attention in between (Qwen team, 2025; the layer is that of Yang et al.,
// "Gated Delta Networks", 2024).
#pragma once

#include "models/model.h"
#include "models/weights.h"

namespace sluice {

Result<LoadedModel> make_qwen3_5(const ModelConfig& config, WeightSource source, DTypeChoice dtype);

}  // namespace sluice
