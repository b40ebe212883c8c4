// The implementations, one a file. gqa_decode's are the same functions: cu_seqlens absent means one row a sequence.
#pragma once

#include "ops/gqa_prefill/gqa_prefill.h"

namespace sluice {

Status gqa_reference(Context&, const GqaArgs&, std::byte*);
Status gqa_cpu(Context&, const GqaArgs&, std::byte*);
Status gqa_avx2(Context&, const GqaArgs&, std::byte*);
Status gqa_avx512(Context&, const GqaArgs&, std::byte*);
Status gqa_avx512_bf16(Context&, const GqaArgs&, std::byte*);
Status gqa_cuda(Context&, const GqaArgs&, std::byte*);

Status gqa_prefill_sm90(Context&, const GqaArgs&, std::byte*);
size_t gqa_prefill_sm90_workspace(const Context&, const GqaArgs&);
Status gqa_cuda_mma(Context&, const GqaArgs&, std::byte*);
size_t gqa_cuda_mma_workspace(const Context&, const GqaArgs&);
inline constexpr int kGqaSm90Page = 64, kGqaMmaPage = 16;  // pages are a multiple of so many keys
Can gqa_can_mma(const GqaArgs&);
Can gqa_can_sm90(const GqaArgs&);

Can gqa_can_avx512_bf16(const GqaArgs&);

size_t gqa_workspace(const Context&, const GqaArgs&);

template <class Args>
Status gqa_cuda_form(Context& c, const Args& a, std::byte* s) {
  return gqa_cuda(c, a, s);
}
template <class Args>
Status gqa_sm90_form(Context& c, const Args& a, std::byte* s) {
  return gqa_prefill_sm90(c, a, s);
}
template <class Args>
Status gqa_cuda_mma_form(Context& c, const Args& a, std::byte* s) {
  return gqa_cuda_mma(c, a, s);
}
template <class Args>
size_t gqa_cuda_mma_form_workspace(const Context& c, const Args& a) {
  return gqa_cuda_mma_workspace(c, a);
}
template <class Args>
size_t gqa_sm90_workspace(const Context& c, const Args& a) {
  return gqa_prefill_sm90_workspace(c, a);
}

// The list of both operators, in one place: a row's bits are the same in both only while they prefer the same form.
template <class Args>
inline constexpr Impl<Args> kGqaImpls[] = {
    {.name = "sm90",
     .isa = Isa::kSm90a,
     .can = [](const Args& a) { return gqa_can_sm90(a); },
     .workspace = SLUICE_SM90_FORM(gqa_sm90_workspace<Args>),
     .run = SLUICE_SM90_FORM(gqa_sm90_form<Args>)},
    {.name = "portable_mma",
     .isa = Isa::kCuda,
     .can = [](const Args& a) { return gqa_can_mma(a); },
     .workspace = SLUICE_CUDA_FORM(gqa_cuda_mma_form_workspace<Args>),
     .run = SLUICE_CUDA_FORM(gqa_cuda_mma_form<Args>)},
    {.name = "portable", .isa = Isa::kCuda, .run = SLUICE_CUDA_FORM(gqa_cuda_form<Args>)},
    {.name = "avx512_bf16",
     .isa = Isa::kAvx512FastBf16,
     .can = [](const Args& a) { return gqa_can_avx512_bf16(a); },
     .workspace = [](const Context& c, const Args& a) { return gqa_workspace(c, a); },
     .run = [](Context& c, const Args& a, std::byte* s) { return gqa_avx512_bf16(c, a, s); }},
    {.name = "avx512",
     .isa = Isa::kAvx512,
     .workspace = [](const Context& c, const Args& a) { return gqa_workspace(c, a); },
     .run = [](Context& c, const Args& a, std::byte* s) { return gqa_avx512(c, a, s); }},
    {.name = "avx2",
     .isa = Isa::kAvx2,
     .workspace = [](const Context& c, const Args& a) { return gqa_workspace(c, a); },
     .run = [](Context& c, const Args& a, std::byte* s) { return gqa_avx2(c, a, s); }},
    {.name = "cpu",
     .workspace = [](const Context& c, const Args& a) { return gqa_workspace(c, a); },
     .run = [](Context& c, const Args& a, std::byte* s) { return gqa_cpu(c, a, s); }},
    {.name = "reference", .run = [](Context& c, const Args& a, std::byte* s) { return gqa_reference(c, a, s); }},
};

}  // namespace sluice
