// The implementations, one a file.
#pragma once

#include "ops/quant_matmul/quant_matmul.h"

namespace sluice {

Status quant_matmul_reference(Context&, const QuantMatmulArgs&, std::byte*);
Status quant_matmul_cpu(Context&, const QuantMatmulArgs&, std::byte*);
size_t quant_matmul_cpu_workspace(const Context&, const QuantMatmulArgs&);

}  // namespace sluice
