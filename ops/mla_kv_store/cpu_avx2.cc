#include "core/simd_avx2.h"
#include "ops/mla_kv_store/body.h"

namespace sluice {

Status mla_kv_store_avx2(Context& ctx, const MlaKvStoreArgs& args, std::byte*) { return mla_kv_store_body<simd::Avx2>(ctx, args); }

}  // namespace sluice
