#include "core/check.h"
#include "ops/copy_rows/forms.h"

namespace sluice {
namespace {

Status check_entries(const char* name, const Tensor& t, int64_t count, int64_t rows) {
  ArgCheck c("copy_rows");
  if (!t.present()) {
    c.that(count <= rows, "x or out has fewer rows than there are to copy");
    return c.status();
  }
  c.dtype(name, t, {DType::kI32}).shape(name, t, {count}).inner_contiguous(name, t);
  SLUICE_RETURN_IF_ERROR(c.status());
  if (t.on_gpu()) return {};
  for (int64_t i = 0; i < count; ++i)
    if (const int32_t row = t.as<int32_t>()[i]; row >= rows)
      return invalid("copy_rows: " + std::string(name) + "[" + std::to_string(i) + "] is " + std::to_string(row) + ", there are " +
                     std::to_string(rows) + " rows");
  return {};
}

}  // namespace

Status check_copy_rows(const CopyRowsArgs& a) {
  ArgCheck c("copy_rows");
  c.rank("x", a.x, 2, 2).inner_contiguous("x", a.x).rank("out", a.out, 2, 2).inner_contiguous("out", a.out);
  c.dtype("out", a.out, {a.x.dtype});
  SLUICE_RETURN_IF_ERROR(c.status());
  c.shape("out", a.out, {a.out.dim(0), a.x.dim(1)});
  SLUICE_RETURN_IF_ERROR(c.status());
  SLUICE_RETURN_IF_ERROR(check_entries("from", a.from, rows_to_copy(a), a.x.dim(0)));
  return check_entries("to", a.to, rows_to_copy(a), a.out.dim(0));
}

namespace {
constexpr Impl<CopyRowsArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .run = SLUICE_CUDA_FORM(copy_rows_cuda)},
    {.name = "reference", .run = copy_rows_reference},  // copies: nothing to gain
};
}  // namespace

std::span<const Impl<CopyRowsArgs>> copy_rows_impls() { return kImpls; }
OpInfo copy_rows_op_info() { return describe_op("copy_rows", copy_rows_impls()); }
Status copy_rows(Context& ctx, const CopyRowsArgs& a) { return dispatch("copy_rows", copy_rows_impls(), check_copy_rows, ctx, a); }

}  // namespace sluice
