#include "ops/group_quant/body.h"

namespace sluice {

Status group_quant_cpu(Context& ctx, const GroupQuantArgs& args, std::byte*) { return group_quant_body<simd::Plain>(ctx, args); }

}  // namespace sluice
