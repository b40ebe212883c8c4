#include "ops/gqa_decode/gqa_decode.h"
#include "ops/gqa_prefill/forms.h"

namespace sluice {

Status check_gqa_decode(const GqaDecodeArgs& a) { return check_gqa("gqa_decode", a, true); }
std::span<const Impl<GqaDecodeArgs>> gqa_decode_impls() { return kGqaImpls<GqaDecodeArgs>; }
OpInfo gqa_decode_op_info() { return describe_op("gqa_decode", gqa_decode_impls()); }
Status gqa_decode(Context& ctx, const GqaDecodeArgs& a) {
  return dispatch("gqa_decode", gqa_decode_impls(), check_gqa_decode, ctx, a);
}

}  // namespace sluice
