#include "base/checked.h"
#include "core/alignment.h"
#include "core/check.h"
#include "ops/gqa_prefill/forms.h"
#include "ops/gqa_prefill/gqa_prefill.h"

namespace sluice {
namespace {

// What the integers must say, so that no row is read outside the cache: null, or what is wrong.
const char* wrong_index(const GqaArgs& a) {
  const int64_t batch = a.seq_lens.dim(0), page_size = a.k_cache.dim(1);
  const int32_t* length = a.seq_lens.as<int32_t>();
  const int32_t* cu = a.cu_seqlens.present() ? a.cu_seqlens.as<int32_t>() : nullptr;
  if (cu && (cu[0] != 0 || cu[batch] != a.q.dim(0))) return "cu_seqlens must go from 0 to the rows of q";
  for (int64_t b = 0; b < batch; ++b) {
    const int64_t rows = cu ? int64_t(cu[b + 1]) - cu[b] : 1;
    if (rows < 0) return "cu_seqlens must not descend";
    if (length[b] < 0 || (length[b] > 0 && length[b] < rows)) return "seq_lens must be 0 or at least the sequence's rows of q";
    if (rows > 0 && length[b] > 0 && length[b] - rows < a.first_key) return "a row stands before first_key";
    const int64_t pages = rows == 0 ? 0 : ceil_div(length[b], page_size);
    if (pages > a.block_table.dim(1)) return "seq_lens is longer than the pages in block_table";
    const int32_t* table = a.block_table.as<int32_t>() + b * a.block_table.stride[0];
    for (int64_t p = 0; p < pages; ++p)
      if (table[p] < 0 || table[p] >= a.k_cache.dim(0)) return "block_table names a page outside the cache";
  }
  return nullptr;
}

}  // namespace

Status check_gqa(const char* op, const GqaArgs& a, bool one_row_each) {
  ArgCheck c(op);
  c.rank("q", a.q, 3, 3).dtype("q", a.q, {DType::kF32, DType::kBF16}).inner_contiguous("q", a.q);
  c.rank("k_cache", a.k_cache, 4, 4)
      .dtype("k_cache", a.k_cache, {DType::kF32, DType::kBF16})
      .inner_contiguous("k_cache", a.k_cache);
  c.rank("seq_lens", a.seq_lens, 1, 1).dtype("seq_lens", a.seq_lens, {DType::kI32}).inner_contiguous("seq_lens", a.seq_lens);
  if (!c.status().ok()) return c.status();
  const auto &s = a.q.shape, &k = a.k_cache.shape;
  const int64_t batch = a.seq_lens.dim(0);
  c.that(k[1] > 0 && k[2] > 0 && k[3] > 0, "k_cache has pages, key heads or heads of size 0, wanted at least 1");
  if (c.status().ok() && s[1] % k[2] != 0)
    return invalid(std::string(op) + ": q has " + std::to_string(s[1]) + " heads, wanted a multiple of the cache's " +
                   std::to_string(k[2]));
  c.shape("k_cache", a.k_cache, {k[0], k[1], k[2], s[2]});
  c.shape("v_cache", a.v_cache, {k[0], k[1], k[2], s[2]})
      .dtype("v_cache", a.v_cache, {a.k_cache.dtype})
      .inner_contiguous("v_cache", a.v_cache);
  if (a.gate.present())
    c.shape("gate", a.gate, {s[0], s[1], s[2]}).dtype("gate", a.gate, {DType::kF32, DType::kBF16}).inner_contiguous("gate", a.gate);
  c.rank("block_table", a.block_table, 2, 2)
      .dtype("block_table", a.block_table, {DType::kI32})
      .inner_contiguous("block_table", a.block_table);
  c.shape("block_table", a.block_table, {batch, a.block_table.shape[1]});
  if (one_row_each) {
    c.that(!a.cu_seqlens.present(), "cu_seqlens is given, wanted none: one row a sequence");
    c.shape("q", a.q, {batch, s[1], s[2]});
  } else {
    c.shape("cu_seqlens", a.cu_seqlens, {batch + 1})
        .dtype("cu_seqlens", a.cu_seqlens, {DType::kI32})
        .inner_contiguous("cu_seqlens", a.cu_seqlens);
  }
  c.shape("o", a.o, {s[0], s[1], s[2]}).dtype("o", a.o, {DType::kF32, DType::kBF16}).inner_contiguous("o", a.o);
  if (a.lse.present()) c.shape("lse", a.lse, {s[0], s[1]}).dtype("lse", a.lse, {DType::kF32});
  c.that(a.first_key >= 0 && a.first_key < 64, "first_key must be 0 to 63");
  c.that(a.scale > 0, "scale must be above 0; it is usually D^-0.5");
  if (c.status().ok() && a.seq_lens.device.kind == DeviceKind::kCpu)
    if (const char* wrong = wrong_index(a)) c.that(false, wrong);
  return c.status();
}

Can gqa_can_mma(const GqaArgs& a) {
  if (!a.q.present()) return {};
  const int64_t D = a.q.dim(2);
  if (D != 64 && D != 128 && D != 256) return Can::no("it is for heads of 64, 128 or 256 elements");
  for (const Tensor* t : {&a.q, &a.gate, &a.k_cache, &a.v_cache, &a.o}) {
    if (!t->present()) continue;
    if (t->dtype != DType::kBF16) return Can::no("its tensor cores take and give bf16: for f32 they are too coarse");
    if (!rows_aligned(*t, 16)) return Can::no("it reads and writes 16 bytes at a time");
  }
  return a.k_cache.dim(1) % kGqaMmaPage ? Can::no("it reads pages of 16 keys, or a multiple") : Can{};
}

Can gqa_can_avx512_bf16(const GqaArgs& a) {
  if (a.k_cache.dtype != DType::kBF16) return Can::no("its products are of bf16, and the cache is f32");
  return a.o.dtype == DType::kBF16 ? Can{} : Can::no("it rounds softmax's weights to bf16: for an o of f32 that is too coarse");
}

Can gqa_can_sm90(const GqaArgs& a) {
  if (const Can c = gqa_can_mma(a); !c.yes() || !a.q.present()) return c;
  if (!a.cu_seqlens.present()) return Can::no("it is for sequences of several rows");
  for (const Tensor* t : {&a.q, &a.k_cache, &a.v_cache})
    for (int d = 0; d + 1 < t->rank; ++d)
      if (t->shape[d] > 1 && t->stride[d] <= 0) return Can::no("its tensor maps cannot repeat rows or heads");
  if (a.k_cache.dim(1) % kGqaSm90Page) return Can::no("it reads pages of 64 keys, or a multiple");
  return a.first_key == 0 ? Can{} : Can::no("it begins with key 0");
}

Status check_gqa_prefill(const GqaPrefillArgs& a) { return check_gqa("gqa_prefill", a, false); }
std::span<const Impl<GqaPrefillArgs>> gqa_prefill_impls() { return kGqaImpls<GqaPrefillArgs>; }
OpInfo gqa_prefill_op_info() { return describe_op("gqa_prefill", gqa_prefill_impls()); }
Status gqa_prefill(Context& ctx, const GqaPrefillArgs& a) {
  return dispatch("gqa_prefill", gqa_prefill_impls(), check_gqa_prefill, ctx, a);
}

}  // namespace sluice
