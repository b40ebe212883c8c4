#include "ops/kv_append/body.h"

namespace sluice {

Status kv_append_cpu(Context& ctx, const KvAppendArgs& a, std::byte*) { return kv_append_body<simd::Plain>(ctx, a); }

}  // namespace sluice
