// The implementations, one a file.
#pragma once

#include "ops/kv_append/kv_append.h"

namespace sluice {

Status kv_append_reference(Context&, const KvAppendArgs&, std::byte*);
Status kv_append_cpu(Context&, const KvAppendArgs&, std::byte*);
Status kv_append_avx2(Context&, const KvAppendArgs&, std::byte*);
Status kv_append_avx512(Context&, const KvAppendArgs&, std::byte*);
Status kv_append_cuda(Context&, const KvAppendArgs&, std::byte*);

}  // namespace sluice
