#include "core/check.h"
#include "ops/embed/embed.h"
#include "ops/embed/forms.h"

namespace sluice {

Status check_embed(const EmbedArgs& a) {
  const int64_t T = a.ids.shape[0], V = a.table.shape[0];
  ArgCheck c("embed");
  c.rank("ids", a.ids, 1, 1).dtype("ids", a.ids, {DType::kI32}).inner_contiguous("ids", a.ids);
  if (a.scale.present()) {
    c.dtype("table", a.table, {DType::kI8, DType::kI32});
    check_quantised(c, "table", a.table, a.scale);
  } else {
    c.rank("table", a.table, 2, 2).dtype("table", a.table, {DType::kF32, DType::kBF16}).inner_contiguous("table", a.table);
  }
  c.dtype("out", a.out, {DType::kF32}).shape("out", a.out, {T, quantised_depth(a.table)}).inner_contiguous("out", a.out);
  SLUICE_RETURN_IF_ERROR(c.status());
  if (a.ids.on_gpu()) return {};
  for (int64_t t = 0; t < T; ++t)
    if (const int32_t id = a.ids.as<int32_t>()[t]; id < 0 || id >= V)
      return invalid("embed: ids[" + std::to_string(t) + "] is " + std::to_string(id) + ", wanted 0 to " + std::to_string(V - 1));
  return {};
}

namespace {

Can not_quantised(const EmbedArgs& a) { return a.scale.present() ? Can::no("the table is quantised") : Can{}; }

constexpr Impl<EmbedArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .can = not_quantised, .run = SLUICE_CUDA_FORM(embed_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .run = embed_avx512},
    {.name = "cpu", .run = embed_cpu},
    {.name = "reference", .run = embed_reference},
};

}  // namespace

std::span<const Impl<EmbedArgs>> embed_impls() { return kImpls; }
OpInfo embed_op_info() { return describe_op("embed", embed_impls()); }
Status embed(Context& ctx, const EmbedArgs& a) { return dispatch("embed", embed_impls(), check_embed, ctx, a); }

}  // namespace sluice
