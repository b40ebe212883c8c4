#include <algorithm>

#include "core/check.h"
#include "ops/mla_decode/forms.h"
#include "ops/mla_decode/keys.h"

namespace sluice {
namespace {

// What the integers must say, so that nothing is read outside the cache: null, or what is wrong. For tensors on the CPU.
const char* wrong_list(const MlaDecodeArgs& a, int64_t row) {
  const MlaKeyList list(a, row);
  const int64_t page_size = a.kv.dim(1), pages = a.kv.dim(0);
  if (a.indices.present()) {
    for (int64_t j = 0; j < list.count(); ++j)
      if (list.entries()[j] >= pages * page_size) return "indices names a slot outside the cache";
    return nullptr;
  }
  const int64_t used = ceil_div(list.count(), page_size);
  if (used > a.block_table.dim(1)) return "seq_lens is longer than the pages in block_table";
  for (int64_t p = 0; p < used; ++p)
    if (list.entries()[p] < 0 || list.entries()[p] >= pages) return "block_table names a page outside the cache";
  return nullptr;
}
const char* wrong_integers(const MlaDecodeArgs& a) {
  if (!a.indices.present() && a.cu_seqlens.present()) {
    const int32_t* cu = a.cu_seqlens.as<int32_t>();
    const int64_t batch = a.seq_lens.dim(0);
    if (cu[0] != 0 || cu[batch] != a.q_nope.dim(0)) return "cu_seqlens must go from 0 to the rows of q_nope";
    if (!std::is_sorted(cu, cu + batch + 1)) return "cu_seqlens must not descend";
  }
  for (int64_t t = 0; t < a.q_nope.dim(0); ++t)
    if (const char* wrong = wrong_list(a, t)) return wrong;
  return nullptr;
}

void check_dense(ArgCheck& c, const MlaDecodeArgs& a) {
  c.rank("seq_lens", a.seq_lens, 1, 1).dtype("seq_lens", a.seq_lens, {DType::kI32}).inner_contiguous("seq_lens", a.seq_lens);
  const int64_t batch = a.seq_lens.shape[0];
  c.rank("block_table", a.block_table, 2, 2).dtype("block_table", a.block_table, {DType::kI32});
  c.shape("block_table", a.block_table, {batch, a.block_table.shape[1]}).inner_contiguous("block_table", a.block_table);
  if (a.cu_seqlens.present())
    c.shape("cu_seqlens", a.cu_seqlens, {batch + 1})
        .dtype("cu_seqlens", a.cu_seqlens, {DType::kI32})
        .inner_contiguous("cu_seqlens", a.cu_seqlens);
  else
    c.that(batch > 0 ? a.q_nope.shape[0] % batch == 0 : a.q_nope.shape[0] == 0,
           "q_nope's rows are no multiple of the sequences in seq_lens, and there is no cu_seqlens");
}

}  // namespace

Can mla_decode_can_mma(const MlaDecodeArgs& a) {
  if (a.kv.dtype == DType::kF32) return Can::no("its tensor cores take bf16: for an f32 cache they are too coarse");
  if (a.q_nope.dim(2) != 512 || a.q_pe.dim(2) != 64) return Can::no("it is for a latent of 512 and a rope of 64 elements");
  const auto wide = [](const Tensor& t, int64_t bytes) {
    const int64_t size = int64_t(dtype_size(t.dtype));
    return reinterpret_cast<uintptr_t>(t.data) % bytes == 0 && t.stride[0] * size % bytes == 0 && t.stride[1] * size % bytes == 0;
  };
  if (!wide(a.kv, 16) || !wide(a.q_nope, 16) || !wide(a.q_pe, 16)) return Can::no("it reads kv and q 16 bytes at a time");
  return wide(a.o, 2 * int64_t(dtype_size(a.o.dtype))) ? Can{} : Can::no("it writes pairs of o's elements");
}

int64_t mla_decode_rows_each(const MlaDecodeArgs& a) {
  const bool alike = !a.indices.present() && !a.cu_seqlens.present() && a.seq_lens.dim(0) > 0;
  return alike ? std::max<int64_t>(a.q_nope.dim(0) / a.seq_lens.dim(0), 1) : 1;
}

Can mla_decode_can_sm90(const MlaDecodeArgs& a) {
  if (const Can can = mla_decode_can_mma(a); !can.yes()) return can;
  constexpr int64_t kMostBytes = int64_t(64) << 30;  // it counts them in units of 16, with 32 bits
  if (a.kv.dim(0) * a.kv.stride[0] * int64_t(dtype_size(a.kv.dtype)) > kMostBytes - 16) return Can::no("kv spans 64 GiB or more");
  if (a.q_nope.dim(1) * mla_decode_rows_each(a) > 32) return {};
  return Can::no("no more than 32 rows of q share their keys, and its tiles have 64");
}

Status check_mla_decode(const MlaDecodeArgs& a) {
  ArgCheck c("mla_decode");
  c.rank("q_nope", a.q_nope, 3, 3).dtype("q_nope", a.q_nope, {DType::kF32, DType::kBF16}).inner_contiguous("q_nope", a.q_nope);
  c.rank("q_pe", a.q_pe, 3, 3).dtype("q_pe", a.q_pe, {a.q_nope.dtype}).inner_contiguous("q_pe", a.q_pe);
  const auto& s = a.q_nope.shape;
  const int64_t P = a.q_pe.shape[2];
  c.shape("q_pe", a.q_pe, {s[0], s[1], P});
  c.rank("kv", a.kv, 3, 3).dtype("kv", a.kv, {DType::kF32, DType::kBF16, DType::kF8E4M3, DType::kU8}).inner_contiguous("kv", a.kv);
  if (!c.status().ok()) return c.status();
  c.that(a.kv.dim(1) > 0, "kv has pages of size 0, wanted at least 1");
  if (mla_fp8(a)) {
    c.that(s[2] % kMlaScaleGroup == 0, "an fp8 kv has a scale for every 128 elements: q_nope's last dimension is no multiple");
    c.shape("kv", a.kv, {a.kv.dim(0), a.kv.dim(1), mla_fp8_row_bytes(s[2], P)});
    c.that(reinterpret_cast<uintptr_t>(a.kv.data) % 4 == 0 && a.kv.stride[0] % 4 == 0 && a.kv.stride[1] % 4 == 0,
           "an fp8 kv must have rows at multiples of 4 bytes, for its scales");
  } else {
    c.shape("kv", a.kv, {a.kv.dim(0), a.kv.dim(1), s[2] + P});
  }
  if (a.indices.present())
    c.rank("indices", a.indices, 2, 2)
        .shape("indices", a.indices, {s[0], a.indices.shape[1]})
        .dtype("indices", a.indices, {DType::kI32})
        .inner_contiguous("indices", a.indices);
  else check_dense(c, a);
  c.shape("o", a.o, {s[0], s[1], s[2]}).dtype("o", a.o, {DType::kF32, DType::kBF16}).inner_contiguous("o", a.o);
  if (a.lse.present()) c.shape("lse", a.lse, {s[0], s[1]}).dtype("lse", a.lse, {DType::kF32});
  c.that(a.scale > 0, "scale must be above 0; it is usually (nope + rope)^-0.5 of the form before absorption");
  if (c.status().ok() && !a.kv.on_gpu())
    if (const char* wrong = wrong_integers(a)) c.that(false, wrong);
  return c.status();
}

namespace {
constexpr Impl<MlaDecodeArgs> kImpls[] = {
    {.name = "sm90",
     .isa = Isa::kSm90a,
     .can = mla_decode_can_sm90,
     .workspace = SLUICE_SM90_FORM(mla_decode_sm90_workspace),
     .run = SLUICE_SM90_FORM(mla_decode_sm90)},
    {.name = "portable_mma",
     .isa = Isa::kCuda,
     .can = mla_decode_can_mma,
     .workspace = SLUICE_CUDA_FORM(mla_decode_mma_workspace),
     .run = SLUICE_CUDA_FORM(mla_decode_cuda_mma)},
    {.name = "portable", .isa = Isa::kCuda, .run = SLUICE_CUDA_FORM(mla_decode_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .workspace = mla_decode_workspace, .run = mla_decode_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .workspace = mla_decode_workspace, .run = mla_decode_avx2},
    {.name = "cpu", .workspace = mla_decode_workspace, .run = mla_decode_cpu},
    {.name = "reference", .run = mla_decode_reference},
};
}  // namespace

std::span<const Impl<MlaDecodeArgs>> mla_decode_impls() { return kImpls; }
OpInfo mla_decode_op_info() { return describe_op("mla_decode", mla_decode_impls()); }
Status mla_decode(Context& ctx, const MlaDecodeArgs& a) {
  return dispatch("mla_decode", mla_decode_impls(), check_mla_decode, ctx, a);
}

}  // namespace sluice
