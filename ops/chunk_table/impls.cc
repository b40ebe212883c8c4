#include "core/check.h"
#include "ops/chunk_table/chunk_table.h"
#include "ops/chunk_table/forms.h"

namespace sluice {
namespace {

void check_values(ArgCheck& c, const ChunkTableArgs& a) {
  if (!c.status().ok() || a.cu_seqlens.on_gpu()) return;
  const auto* cu = a.cu_seqlens.as<int32_t>();
  for (int64_t b = 0, before = 0; b < a.cu_seqlens.shape[0]; before = cu[b++]) {
    if (cu[b] >= before && cu[b] <= a.rows) continue;
    const std::string what = "cu_seqlens[" + std::to_string(b) + "] is " + std::to_string(cu[b]) + ", wanted " +
                             std::to_string(before) + " to " + std::to_string(a.rows);
    return void(c.that(false, what.c_str()));
  }
  for (int64_t b = 0; a.start.present() && b < a.start.shape[0]; ++b) {
    if (a.start.as<int32_t>()[b] >= 0) continue;
    const std::string what =
        "start[" + std::to_string(b) + "] is " + std::to_string(a.start.as<int32_t>()[b]) + ", wanted a position of 0 or more";
    return void(c.that(false, what.c_str()));
  }
}

}  // namespace

Status check_chunk_table(const ChunkTableArgs& a) {
  const auto ids = {DType::kI32};
  ArgCheck c("chunk_table");
  c.rank("cu_seqlens", a.cu_seqlens, 1, 1).dtype("cu_seqlens", a.cu_seqlens, ids).inner_contiguous("cu_seqlens", a.cu_seqlens);
  c.that(a.cu_seqlens.shape[0] > 0, "cu_seqlens is empty, wanted one entry more than there are sequences");
  const int64_t B = a.cu_seqlens.shape[0] - 1;
  if (a.start.present()) c.dtype("start", a.start, ids).shape("start", a.start, {B}).inner_contiguous("start", a.start);
  if (a.counts.present()) c.dtype("counts", a.counts, ids).shape("counts", a.counts, {B}).inner_contiguous("counts", a.counts);
  c.dtype("offsets", a.offsets, ids).shape("offsets", a.offsets, {B + 1}).inner_contiguous("offsets", a.offsets);
  c.rank("chunks", a.chunks, 2, 2).dtype("chunks", a.chunks, ids).shape("chunks", a.chunks, {a.chunks.shape[0], 2});
  c.that(a.chunks.contiguous(), "chunks must be dense");
  if (c.status().ok() && a.chunks.shape[0] < chunk_table_rows(a.rows, B)) {
    const std::string what = "chunks has " + std::to_string(a.chunks.shape[0]) + " rows, wanted " +
                             std::to_string(chunk_table_rows(a.rows, B)) + " or more";
    c.that(false, what.c_str());
  }
  check_values(c, a);
  return c.status();
}

namespace {
constexpr Impl<ChunkTableArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .run = SLUICE_CUDA_FORM(chunk_table_cuda)},
    {.name = "cpu", .run = chunk_table_cpu},
    {.name = "reference", .run = chunk_table_reference},
};
}  // namespace

std::span<const Impl<ChunkTableArgs>> chunk_table_impls() { return kImpls; }
OpInfo chunk_table_op_info() { return describe_op("chunk_table", chunk_table_impls()); }
Status chunk_table(Context& ctx, const ChunkTableArgs& a) {
  return dispatch("chunk_table", chunk_table_impls(), check_chunk_table, ctx, a);
}

}  // namespace sluice
