#include <algorithm>

#include "core/alignment.h"
#include "core/check.h"
#include "ops/mla_prefill/forms.h"
#include "ops/mla_prefill/mla_prefill.h"

namespace sluice {
namespace {

// For tensors on the CPU: null, or what is wrong.
const char* wrong_lengths(const Tensor& cu, int64_t rows, const char* ends, const char* descends) {
  const int32_t *first = cu.as<int32_t>(), *last = first + cu.dim(0) - 1;
  if (*first != 0 || *last != rows) return ends;
  return std::is_sorted(first, last + 1) ? nullptr : descends;
}
const char* wrong_integers(const MlaPrefillArgs& a) {
  if (const char* wrong = wrong_lengths(a.cu_seqlens_q, a.q.dim(0), "cu_seqlens_q must go from 0 to the rows of q",
                                        "cu_seqlens_q must not descend"))
    return wrong;
  return wrong_lengths(a.cu_seqlens_k, a.k_nope.dim(0), "cu_seqlens_k must go from 0 to the rows of k_nope",
                       "cu_seqlens_k must not descend");
}

}  // namespace

Can mla_prefill_can_mma(const MlaPrefillArgs& a) {
  if (a.q.dtype == DType::kF32) return Can::no("its tensor cores take bf16: for f32 keys they are too coarse");
  const int64_t N = a.k_nope.dim(2), P = a.q.dim(2) - N, V = a.v.dim(2);
  if (P != 64 || !((N == 128 && V == 128) || (N == 192 && V == 256)))
    return Can::no("it is for heads of 128 + 64 and 128, or of 192 + 64 and 256 elements");
  for (const Tensor* t : {&a.q, &a.k_nope, &a.k_pe, &a.v})
    if (!rows_aligned(*t, 16)) return Can::no("it reads q, keys and values 16 bytes at a time");
  return rows_aligned(a.o, 2 * int64_t(dtype_size(a.o.dtype))) ? Can{} : Can::no("it writes pairs of o's elements");
}

Can mla_prefill_can_sm90(const MlaPrefillArgs& a) {
  if (const Can c = mla_prefill_can_mma(a); !c.yes()) return c;
  for (const Tensor* t : {&a.q, &a.k_nope, &a.k_pe, &a.v})
    for (int d = 0; d + 1 < t->rank; ++d)
      if (t->shape[d] > 1 && t->stride[d] <= 0) return Can::no("its tensor maps cannot repeat rows or heads");
  return rows_aligned(a.o, 16) ? Can{} : Can::no("it writes o 16 bytes at a time");
}

Status check_mla_prefill(const MlaPrefillArgs& a) {
  ArgCheck c("mla_prefill");
  c.rank("q", a.q, 3, 3).dtype("q", a.q, {DType::kF32, DType::kBF16}).inner_contiguous("q", a.q);
  c.rank("k_nope", a.k_nope, 3, 3).dtype("k_nope", a.k_nope, {a.q.dtype}).inner_contiguous("k_nope", a.k_nope);
  const int64_t T = a.q.shape[0], H = a.q.shape[1], S = a.k_nope.shape[0], N = a.k_nope.shape[2], P = a.q.shape[2] - N;
  c.shape("k_nope", a.k_nope, {S, H, N}).that(P >= 0, "k_nope has more elements than q");
  if (P > 0 || a.k_pe.present())
    c.dtype("k_pe", a.k_pe, {a.q.dtype}).shape("k_pe", a.k_pe, {S, P}).inner_contiguous("k_pe", a.k_pe);
  c.rank("v", a.v, 3, 3).dtype("v", a.v, {a.q.dtype}).shape("v", a.v, {S, H, a.v.shape[2]}).inner_contiguous("v", a.v);
  c.rank("cu_seqlens_q", a.cu_seqlens_q, 1, 1)
      .dtype("cu_seqlens_q", a.cu_seqlens_q, {DType::kI32})
      .inner_contiguous("cu_seqlens_q", a.cu_seqlens_q);
  c.that(a.cu_seqlens_q.shape[0] > 0, "cu_seqlens_q is empty, wanted an entry more than there are sequences");
  c.shape("cu_seqlens_k", a.cu_seqlens_k, {a.cu_seqlens_q.shape[0]})
      .dtype("cu_seqlens_k", a.cu_seqlens_k, {DType::kI32})
      .inner_contiguous("cu_seqlens_k", a.cu_seqlens_k);
  c.shape("o", a.o, {T, H, a.v.shape[2]}).dtype("o", a.o, {DType::kF32, DType::kBF16}).inner_contiguous("o", a.o);
  if (a.lse.present()) c.shape("lse", a.lse, {T, H}).dtype("lse", a.lse, {DType::kF32});
  c.that(a.scale > 0, "scale must be above 0; it is usually (N + P)^-0.5");
  if (c.status().ok() && !a.cu_seqlens_q.on_gpu())
    if (const char* wrong = wrong_integers(a)) c.that(false, wrong);
  return c.status();
}

namespace {
constexpr Impl<MlaPrefillArgs> kImpls[] = {
    {.name = "sm90",
     .isa = Isa::kSm90a,
     .can = mla_prefill_can_sm90,
     .workspace = SLUICE_SM90_FORM(mla_prefill_sm90_workspace),
     .run = SLUICE_SM90_FORM(mla_prefill_sm90)},
    {.name = "portable_mma", .isa = Isa::kCuda, .can = mla_prefill_can_mma, .run = SLUICE_CUDA_FORM(mla_prefill_cuda_mma)},
    {.name = "portable", .isa = Isa::kCuda, .run = SLUICE_CUDA_FORM(mla_prefill_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .workspace = mla_prefill_workspace, .run = mla_prefill_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .workspace = mla_prefill_workspace, .run = mla_prefill_avx2},
    {.name = "cpu", .workspace = mla_prefill_workspace, .run = mla_prefill_cpu},
    {.name = "reference", .run = mla_prefill_reference},
};
}  // namespace

std::span<const Impl<MlaPrefillArgs>> mla_prefill_impls() { return kImpls; }
OpInfo mla_prefill_op_info() { return describe_op("mla_prefill", mla_prefill_impls()); }
Status mla_prefill(Context& ctx, const MlaPrefillArgs& a) {
  return dispatch("mla_prefill", mla_prefill_impls(), check_mla_prefill, ctx, a);
}

}  // namespace sluice
