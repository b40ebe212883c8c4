#include "core/check.h"
#include "ops/kv_append/forms.h"
#include "ops/kv_append/kv_append.h"

namespace sluice {

namespace {

std::string at(const char* name, int64_t i) { return std::string("kv_append: ") + name + "[" + std::to_string(i) + "]"; }

// The pages that sequence b's rows fall into.
Status check_pages(const KvAppendArgs& a, int64_t b, int64_t rows) {
  const int64_t first = a.start.as<int32_t>()[b], page = a.k_cache.shape[1], pages = a.k_cache.shape[0], P = a.block_table.shape[1];
  if (first < 0) return invalid(at("start", b) + " is " + std::to_string(first) + ", wanted 0 or more");
  if (first + rows > P * page)
    return invalid(at("start", b) + " + " + std::to_string(rows) + " rows end at " + std::to_string(first + rows) + ", but " +
                   std::to_string(P) + " pages of " + std::to_string(page) + " hold " + std::to_string(P * page));
  for (int64_t p = first / page; p * page < first + rows; ++p) {
    const int32_t entry = a.block_table.as<int32_t>()[b * a.block_table.stride[0] + p];
    if (entry < 0 || entry >= pages)
      return invalid("kv_append: block_table[" + std::to_string(b) + ", " + std::to_string(p) + "] is " + std::to_string(entry) +
                     ", wanted a page from 0 to " + std::to_string(pages - 1));
  }
  return {};
}

Status check_sequences(const KvAppendArgs& a) {
  const int32_t* cu = a.cu_seqlens.as<int32_t>();
  const int64_t B = a.start.shape[0];
  if (cu[0] != 0) return invalid(at("cu_seqlens", 0) + " is " + std::to_string(cu[0]) + ", wanted 0");
  for (int64_t b = 0; b < B; ++b) {
    if (cu[b + 1] < cu[b]) return invalid(at("cu_seqlens", b + 1) + " is less than the entry before it");
    if (cu[b + 1] > cu[b]) SLUICE_RETURN_IF_ERROR(check_pages(a, b, cu[b + 1] - cu[b]));
  }
  if (cu[B] != a.k.shape[0])
    return invalid(at("cu_seqlens", B) + " is " + std::to_string(cu[B]) + ", wanted T = " + std::to_string(a.k.shape[0]));
  return {};
}

}  // namespace

Status check_kv_append(const KvAppendArgs& a) {
  const int64_t T = a.k.shape[0], H = a.k.shape[1], D = a.k.shape[2], B = a.start.shape[0];
  const auto& cache = a.k_cache.shape;
  ArgCheck c("kv_append");
  c.rank("k", a.k, 3, 3).dtype("k", a.k, {DType::kF32, DType::kBF16}).inner_contiguous("k", a.k);
  c.dtype("v", a.v, {a.k.dtype}).shape("v", a.v, {T, H, D}).inner_contiguous("v", a.v);
  c.rank("start", a.start, 1, 1).dtype("start", a.start, {DType::kI32}).inner_contiguous("start", a.start);
  c.dtype("cu_seqlens", a.cu_seqlens, {DType::kI32}).shape("cu_seqlens", a.cu_seqlens, {B + 1});
  c.inner_contiguous("cu_seqlens", a.cu_seqlens);
  c.rank("block_table", a.block_table, 2, 2).dtype("block_table", a.block_table, {DType::kI32});
  c.shape("block_table", a.block_table, {B, a.block_table.shape[1]}).inner_contiguous("block_table", a.block_table);
  c.rank("k_cache", a.k_cache, 4, 4).dtype("k_cache", a.k_cache, {DType::kF32, DType::kBF16});
  c.shape("k_cache", a.k_cache, {cache[0], cache[1], H, D}).inner_contiguous("k_cache", a.k_cache);
  c.that(cache[1] > 0, "k_cache has pages of 0 rows, wanted 1 or more");
  c.dtype("v_cache", a.v_cache, {a.k_cache.dtype}).shape("v_cache", a.v_cache, {cache[0], cache[1], H, D});
  c.inner_contiguous("v_cache", a.v_cache);
  SLUICE_RETURN_IF_ERROR(c.status());
  return a.cu_seqlens.on_gpu() ? Status() : check_sequences(a);
}

namespace {
constexpr Impl<KvAppendArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .run = SLUICE_CUDA_FORM(kv_append_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .run = kv_append_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .run = kv_append_avx2},
    {.name = "cpu", .run = kv_append_cpu},
    {.name = "reference", .run = kv_append_reference},
};
}  // namespace

std::span<const Impl<KvAppendArgs>> kv_append_impls() { return kImpls; }
OpInfo kv_append_op_info() { return describe_op("kv_append", kv_append_impls()); }
Status kv_append(Context& ctx, const KvAppendArgs& a) { return dispatch("kv_append", kv_append_impls(), check_kv_append, ctx, a); }

}  // namespace sluice
