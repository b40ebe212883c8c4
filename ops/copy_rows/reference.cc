#include <cstring>

#include "ops/copy_rows/forms.h"

namespace sluice {

Status copy_rows_reference(Context&, const CopyRowsArgs& a, std::byte*) {
  const size_t bytes = size_t(a.x.dim(1)) * dtype_size(a.x.dtype);
  for (int64_t i = 0; i < rows_to_copy(a); ++i) {
    const int64_t from = a.from.present() ? a.from.as<int32_t>()[i] : i, to = a.to.present() ? a.to.as<int32_t>()[i] : i;
    if (from >= 0 && to >= 0) std::memcpy(a.out[to].data, a.x[from].data, bytes);
  }
  return {};
}

}  // namespace sluice
