// The implementations, one a file.
#pragma once

#include "ops/quant_matmul/quant_matmul.h"

namespace sluice {

Status quant_matmul_reference(Context&, const QuantMatmulArgs&, std::byte*);
Status quant_matmul_cpu(Context&, const QuantMatmulArgs&, std::byte*);
Status quant_matmul_avx2(Context&, const QuantMatmulArgs&, std::byte*);
Status quant_matmul_avx512(Context&, const QuantMatmulArgs&, std::byte*);
Status quant_matmul_avx512_vnni(Context&, const QuantMatmulArgs&, std::byte*);  // int8 and int4
Status quant_matmul_avx512_bf16(Context&, const QuantMatmulArgs&, std::byte*);  // fp8

size_t quant_matmul_cpu_workspace(const Context&, const QuantMatmulArgs&);
size_t quant_matmul_avx2_workspace(const Context&, const QuantMatmulArgs&);
size_t quant_matmul_avx512_workspace(const Context&, const QuantMatmulArgs&);
size_t quant_matmul_avx512_vnni_workspace(const Context&, const QuantMatmulArgs&);
size_t quant_matmul_avx512_bf16_workspace(const Context&, const QuantMatmulArgs&);

}  // namespace sluice
