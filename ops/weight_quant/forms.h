// The implementations, one a file.
#pragma once

#include "ops/weight_quant/weight_quant.h"

namespace sluice {

Status weight_quant_reference(Context&, const WeightQuantArgs&, std::byte*);

}  // namespace sluice
