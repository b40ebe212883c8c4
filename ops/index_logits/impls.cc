#include <bit>

#include "core/alignment.h"
#include "core/check.h"
#include "ops/index_logits/forms.h"

namespace sluice {
namespace {

void check_matrix(ArgCheck& c, const IndexLogitsArgs& args) {
  const int64_t T = args.q.shape[0], S = args.k.shape[0];
  c.dtype("k", args.k, {args.q.dtype})
      .rank("k", args.k, 2, 2)
      .shape("k", args.k, {S, args.q.shape[2]})
      .inner_contiguous("k", args.k);
  if (args.k_scale.present())
    c.dtype("k_scale", args.k_scale, {DType::kF32}).shape("k_scale", args.k_scale, {S}).inner_contiguous("k_scale", args.k_scale);
  for (const auto& [name, t] : {std::pair{"k_begin", args.k_begin}, {"k_end", args.k_end}})
    if (t.present()) c.dtype(name, t, {DType::kI32}).shape(name, t, {T}).inner_contiguous(name, t);
  c.that(!args.block_table.present() && !args.context_lens.present(),
         "block_table and context_lens belong to a cache, and there is a k");
  c.shape("logits", args.logits, {T, S});
}

void check_pages(ArgCheck& c, const IndexLogitsArgs& args) {
  const auto& [q, weights, k, k_scale, k_begin, k_end, cache, page_size, block_table, context_lens, logits, clean] = args;
  c.that(q.dtype == DType::kF8E4M3, "a cache holds F8_E4M3, and q is of another type");
  c.that(!k_scale.present() && !k_begin.present() && !k_end.present(),
         "k_scale, k_begin and k_end belong to a k, and there is a cache");
  c.that(page_size > 0 && page_size < (int64_t(1) << 31) && std::has_single_bit(uint64_t(page_size)),
         "page_size must be a power of two");
  c.dtype("cache", cache, {DType::kU8}).rank("cache", cache, 2, 2).inner_contiguous("cache", cache);
  c.shape("cache", cache, {cache.shape[0], page_size * (q.shape[2] + 4)});
  c.that(cache.stride[0] % 4 == 0 && reinterpret_cast<uintptr_t>(cache.data) % 4 == 0,
         "pages of the cache must begin at multiples of 4 bytes");
  c.dtype("block_table", block_table, {DType::kI32})
      .rank("block_table", block_table, 2, 2)
      .inner_contiguous("block_table", block_table);
  const int64_t B = block_table.shape[0], T = q.shape[0];
  c.that(B > 0 ? T % B == 0 : T == 0, "q must have as many tokens for each row of the block_table");
  c.dtype("context_lens", context_lens, {DType::kI32}).rank("context_lens", context_lens, 1, 2);
  c.inner_contiguous("context_lens", context_lens);
  if (context_lens.rank == 2) c.shape("context_lens", context_lens, {B, B > 0 ? T / B : context_lens.shape[1]});
  else c.shape("context_lens", context_lens, {B});
  c.shape("logits", logits, {T, logits.shape[1]});
  c.that(logits.shape[1] <= block_table.shape[1] * page_size, "logits has more columns than the block_table has keys");
}

}  // namespace

Status check_index_logits(const IndexLogitsArgs& args) {
  const auto& [q, weights, k, k_scale, k_begin, k_end, cache, page_size, block_table, context_lens, logits, clean] = args;
  ArgCheck c("index_logits");
  c.rank("q", q, 3, 3).dtype("q", q, {DType::kF8E4M3, DType::kBF16, DType::kF32}).inner_contiguous("q", q);
  c.that(q.shape[2] == 32 || q.shape[2] == 64 || q.shape[2] == 128, "q must have a head dim of 32, 64 or 128");
  c.dtype("weights", weights, {DType::kF32})
      .shape("weights", weights, {q.shape[0], q.shape[1]})
      .inner_contiguous("weights", weights);
  c.rank("logits", logits, 2, 2).dtype("logits", logits, {DType::kF32}).inner_contiguous("logits", logits);
  c.that(logits.shape[1] <= INT32_MAX, "logits has rows of 2^31 or more, and bounds are int32");
  c.that(k.present() != cache.present(), "wanted either a k or a cache");
  if (k.present()) check_matrix(c, args);
  else check_pages(c, args);
  return c.status();
}

size_t index_logits_workspace(const Context& ctx, const IndexLogitsArgs& args) {
  return size_t(ctx.team->size()) * size_t(index_logits_scratch(args.q.dim(1), args.q.dim(2))) * sizeof(float);
}

namespace {
// What the copy engine and a product of 64 keys ask for.
Can can_sm90(const IndexLogitsArgs& args) {
  if (args.q.dtype != DType::kF8E4M3 || args.q.dim(2) != 128) return Can::no("it takes e4m3 of 128 elements");
  if (args.q.dim(1) < 1 || args.q.dim(1) > 64) return Can::no("it takes 1 to 64 heads");
  if (!rows_aligned(args.q, 16)) return Can::no("it takes queries at multiples of 16 bytes");
  if (args.cache.present()) {
    if (args.page_size < 64) return Can::no("it takes pages of 64 keys or more");
    return rows_aligned(args.cache, 16) ? Can{} : Can::no("it takes pages at multiples of 16 bytes");
  }
  return rows_aligned(args.k, 16) ? Can{} : Can::no("it takes keys at multiples of 16 bytes");
}

constexpr Impl<IndexLogitsArgs> kImpls[] = {
    {.name = "sm90", .isa = Isa::kSm90a, .can = can_sm90, .run = SLUICE_SM90_FORM(index_logits_sm90)},
    {.name = "portable", .isa = Isa::kCuda, .run = SLUICE_CUDA_FORM(index_logits_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .workspace = index_logits_workspace, .run = index_logits_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .workspace = index_logits_workspace, .run = index_logits_avx2},
    {.name = "cpu", .workspace = index_logits_workspace, .run = index_logits_cpu},
    {.name = "reference", .run = index_logits_reference},
};
}  // namespace

std::span<const Impl<IndexLogitsArgs>> index_logits_impls() { return kImpls; }
OpInfo index_logits_op_info() { return describe_op("index_logits", index_logits_impls()); }
Status index_logits(Context& ctx, const IndexLogitsArgs& args) {
  return dispatch("index_logits", index_logits_impls(), check_index_logits, ctx, args);
}

}  // namespace sluice
