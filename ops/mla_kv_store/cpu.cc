#include "ops/mla_kv_store/body.h"

namespace sluice {

Status mla_kv_store_cpu(Context& ctx, const MlaKvStoreArgs& args, std::byte*) { return mla_kv_store_body<simd::Plain>(ctx, args); }

}  // namespace sluice
