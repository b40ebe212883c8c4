// The implementations, one a file.
#pragma once

#include "base/checked.h"
#include "ops/mla_decode/mla_decode.h"

namespace sluice {

Status mla_decode_reference(Context&, const MlaDecodeArgs&, std::byte*);
Status mla_decode_cpu(Context&, const MlaDecodeArgs&, std::byte*);
Status mla_decode_avx2(Context&, const MlaDecodeArgs&, std::byte*);
Status mla_decode_avx512(Context&, const MlaDecodeArgs&, std::byte*);
Status mla_decode_cuda(Context&, const MlaDecodeArgs&, std::byte*);
Status mla_decode_cuda_mma(Context&, const MlaDecodeArgs&, std::byte*);
Status mla_decode_sm90(Context&, const MlaDecodeArgs&, std::byte*);

size_t mla_decode_workspace(const Context&, const MlaDecodeArgs&);  // of the vector forms
size_t mla_decode_mma_workspace(const Context&, const MlaDecodeArgs&);
size_t mla_decode_sm90_workspace(const Context&, const MlaDecodeArgs&);
int64_t mla_decode_rows_each(const MlaDecodeArgs&);  // of a sequence that may share a tile: those of equally long runs
Can mla_decode_can_mma(const MlaDecodeArgs&);
Can mla_decode_can_sm90(const MlaDecodeArgs&);

}  // namespace sluice
