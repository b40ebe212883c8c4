// The implementations, one a file.
#pragma once

#include "ops/weight_quant/weight_quant.h"

namespace sluice {

Status weight_quant_reference(Context&, const WeightQuantArgs&, std::byte*);
Status weight_quant_cpu(Context&, const WeightQuantArgs&, std::byte*);
Status weight_quant_avx2(Context&, const WeightQuantArgs&, std::byte*);
Status weight_quant_avx512(Context&, const WeightQuantArgs&, std::byte*);
size_t weight_quant_workspace(const Context&, const WeightQuantArgs&);

}  // namespace sluice
