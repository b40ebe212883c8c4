// The implementations, one a file.
#pragma once

#include "ops/mla_kv_store/mla_kv_store.h"

namespace sluice {

Status mla_kv_store_reference(Context&, const MlaKvStoreArgs&, std::byte*);
Status mla_kv_store_cpu(Context&, const MlaKvStoreArgs&, std::byte*);
Status mla_kv_store_avx2(Context&, const MlaKvStoreArgs&, std::byte*);
Status mla_kv_store_avx512(Context&, const MlaKvStoreArgs&, std::byte*);
Status mla_kv_store_cuda(Context&, const MlaKvStoreArgs&, std::byte*);

}  // namespace sluice
