// The implementations, one a file. gqa_decode's are the same functions: cu_seqlens absent means one row a sequence.
#pragma once

#include "ops/gqa_prefill/gqa_prefill.h"

namespace sluice {

Status gqa_reference(Context&, const GqaArgs&, std::byte*);
Status gqa_cpu(Context&, const GqaArgs&, std::byte*);
Status gqa_avx512(Context&, const GqaArgs&, std::byte*);

size_t gqa_workspace(const Context&, const GqaArgs&);

// The list of both operators, in one place: a row's bits are the same in both only while they prefer the same form.
template <class Args>
inline constexpr Impl<Args> kGqaImpls[] = {
    {.name = "avx512",
     .isa = Isa::kAvx512,
     .workspace = [](const Context& c, const Args& a) { return gqa_workspace(c, a); },
     .run = [](Context& c, const Args& a, std::byte* s) { return gqa_avx512(c, a, s); }},
    {.name = "cpu",
     .workspace = [](const Context& c, const Args& a) { return gqa_workspace(c, a); },
     .run = [](Context& c, const Args& a, std::byte* s) { return gqa_cpu(c, a, s); }},
    {.name = "reference", .run = [](Context& c, const Args& a, std::byte* s) { return gqa_reference(c, a, s); }},
};

}  // namespace sluice
