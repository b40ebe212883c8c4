// The definition of a row's quantisation, for the references of operators that end with it.
#pragma once

#include <vector>

#include "ops/group_quant/group_quant.h"

namespace sluice {

// `q` and `scales` are the row's, of rank 1.
void quantise_row_by_definition(const std::vector<double>& v, const QuantisedGroups& out, const Tensor& q, const Tensor& scales);

// Row r of a tensor [T, D] or [E, T, D], all of whose strides are free.
Tensor row_of_tensor(const Tensor& t, int64_t r);

}  // namespace sluice
