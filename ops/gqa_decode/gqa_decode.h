// gqa_decode: gqa_prefill with one row a sequence, split over (sequence, key head) and, for long contexts, over fixed spans of
// keys merged in order. Arguments, formula and tolerance in ops/gqa_prefill/gqa_prefill.h; the same bits
// of the same form.
#pragma once

#include "ops/gqa_prefill/gqa_prefill.h"

namespace sluice {

struct GqaDecodeArgs : GqaArgs {};

Status check_gqa_decode(const GqaDecodeArgs& a);
std::span<const Impl<GqaDecodeArgs>> gqa_decode_impls();
Status gqa_decode(Context& ctx, const GqaDecodeArgs& a);

}  // namespace sluice
