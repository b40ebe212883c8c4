#include "ops/chunk_table/cases.h"
#include "ops/chunk_table/chunk_table.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

void add(const ChunkTableBenchCase& c) {
  const int64_t B = c.sequences, T = B * c.tokens, rows = chunk_table_rows(T, B);
  const std::string label = std::to_string(B) + "x" + std::to_string(c.tokens);
  bench<ChunkTableArgs>({"chunk_table", label, Where::kBoth}, {chunk_table_impls(), check_chunk_table}, [=](Inputs& in) {
    std::vector<int32_t> cu;
    for (int64_t b = 0; b <= B; ++b) cu.push_back(int32_t(b * c.tokens));
    const ChunkTableArgs args{.cu_seqlens = in.ints(cu),
                              .start = in.ints(std::vector<int32_t>(size_t(B), 100)),
                              .counts = in.output(DType::kI32, {B}),
                              .offsets = in.output(DType::kI32, {B + 1}),
                              .chunks = in.output(DType::kI32, {rows, 2}),
                              .rows = T};
    return Call<ChunkTableArgs>{.args = args,
                                .work = {.bytes = 4.0 * double(4 * B + 2 * rows)},
                                .outputs = {args.counts, args.offsets, args.chunks},
                                .limit = 0};
  });
}

const bool registered = [] {
  for (const ChunkTableBenchCase& c : kChunkTableBenchCases) add(c);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
