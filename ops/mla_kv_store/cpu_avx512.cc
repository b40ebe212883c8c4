#include "core/simd_avx512.h"
#include "ops/mla_kv_store/body.h"

namespace sluice {

Status mla_kv_store_avx512(Context& ctx, const MlaKvStoreArgs& args, std::byte*) {
  return mla_kv_store_body<simd::Avx512>(ctx, args);
}

}  // namespace sluice
