// What the GPU's form brings there of its parameters and lists: a table row each, then an entry for each row that is adjusted, then
// their lists. And what a row's parameters ask for, on both sides.
#pragma once

#include "core/context.h"
#include "ops/sample/sample.h"

namespace sluice::sampling {

struct TableRow {
  SamplingParams params;
  int32_t adjusted;  // its entry; -1: none
};

// Where a list of tokens lies: bytes from the table's beginning.
struct List {
  int64_t at = 0, count = 0;
};

struct Adjusted {
  int32_t row = 0;
  List allowed{}, bias{}, used{}, banned{};
};

static_assert(sizeof(TableRow) % alignof(Adjusted) == 0);

// How much is uploaded: all that a call's shape of work depends on.
struct Sizes {
  int64_t rows = 0, adjusted = 0, lists = 0;  // lists: bytes
  int64_t first_adjusted() const { return rows * int64_t(sizeof(TableRow)); }
  int64_t first_list() const { return first_adjusted() + adjusted * int64_t(sizeof(Adjusted)); }
  int64_t bytes() const { return first_list() + lists; }
};

Sizes sizes_of(const SampleArgs& a);
// Writes all of it to `table`, in the GPU's memory.
Status upload_table(Context& ctx, const SampleArgs& a, std::byte* table);

}  // namespace sluice::sampling
