// The implementations, one a file.
#pragma once

#include "ops/silu_mul/silu_mul.h"

namespace sluice {

Status silu_mul_reference(Context&, const SiluMulArgs&, std::byte*);
Status silu_mul_cpu(Context&, const SiluMulArgs&, std::byte*);
Status silu_mul_avx2(Context&, const SiluMulArgs&, std::byte*);
Status silu_mul_avx512(Context&, const SiluMulArgs&, std::byte*);
Status silu_mul_cuda(Context&, const SiluMulArgs&, std::byte*);

}  // namespace sluice
