// The implementations, one a file.
#pragma once

#include "base/checked.h"
#include "ops/mla_rope_quantize/mla_rope_quantize.h"

namespace sluice {

Status mla_rope_quantize_reference(Context&, const MlaRopeQuantizeArgs&, std::byte*);
Status mla_rope_quantize_cpu(Context&, const MlaRopeQuantizeArgs&, std::byte*);
Status mla_rope_quantize_avx2(Context&, const MlaRopeQuantizeArgs&, std::byte*);
Status mla_rope_quantize_avx512(Context&, const MlaRopeQuantizeArgs&, std::byte*);
Status mla_rope_quantize_cuda(Context&, const MlaRopeQuantizeArgs&, std::byte*);

// The vector forms' scratch: a token's cosines and sines for each thread, this many elements of either.
constexpr int64_t mla_rope_table_length(int64_t rope_dim) { return round_up(rope_dim, 16); }
size_t mla_rope_quantize_workspace(const Context& ctx, const MlaRopeQuantizeArgs& args);

}  // namespace sluice
