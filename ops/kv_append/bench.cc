#include "ops/kv_append/cases.h"
#include "ops/kv_append/kv_append.h"
#include "tests/support/op_bench.h"

namespace sluice {
namespace {

struct Memory {
  std::vector<float> k, v;
  std::vector<Bf16> k_cache, v_cache;
  std::vector<int32_t> cu, start{0}, table;
};

const bool registered = [] {
  for (const KvAppendCase& c : kKvAppendBenchCases) {
    const int64_t T = c.max_rows, H = c.heads, D = c.dim, pages = (T + c.page - 1) / c.page;
    auto m = std::make_shared<Memory>();
    m->k.assign(T * H * D, 0.5f), m->v.assign(T * H * D, 0.5f), m->cu = {0, int32_t(T)};
    m->k_cache.resize(pages * c.page * H * D), m->v_cache.resize(pages * c.page * H * D);
    for (int64_t p = 0; p < pages; ++p) m->table.push_back(int32_t(pages - 1 - p));
    const KvAppendArgs args{.k = Tensor::of(m->k.data(), {T, H, D}),
                            .v = Tensor::of(m->v.data(), {T, H, D}),
                            .cu_seqlens = Tensor::of(m->cu.data(), {2}),
                            .start = Tensor::of(m->start.data(), {1}),
                            .block_table = Tensor::of(m->table.data(), {1, pages}),
                            .k_cache = Tensor::of(m->k_cache.data(), {pages, c.page, H, D}),
                            .v_cache = Tensor::of(m->v_cache.data(), {pages, c.page, H, D})};
    benching::bench_impls("kv_append", std::to_string(T) + "x" + std::to_string(H) + "x" + std::to_string(D), kv_append_impls(),
                          args, {.bytes = 12.0 * double(T * H * D)}, m);
  }
  return true;
}();

}  // namespace
}  // namespace sluice
