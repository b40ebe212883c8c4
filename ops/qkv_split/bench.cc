#include "ops/qkv_split/cases.h"
#include "ops/qkv_split/qkv_split.h"
#include "tests/support/op_bench.h"

namespace sluice {
namespace {

const bool registered = [] {
  for (const QkvSplitCase& c : kQkvSplitBenchCases)
    for (const QkvLayout layout : {QkvLayout::kConcatenated, QkvLayout::kPerKeyHead}) {
      const int64_t T = c.rows, keys = c.key_heads * c.key_dim, values = c.value_heads * c.value_dim;
      const bool whole = layout == QkvLayout::kConcatenated;
      const int64_t gates = 2 * c.value_heads, columns = 2 * keys + 2 * values + (whole ? gates : 0);
      const int64_t floats = 2 * T * (2 * keys + 2 * values + gates);
      auto memory = std::make_shared<Buffer>(Buffer::allocate(size_t(floats) * sizeof(float)).value());
      auto* p = reinterpret_cast<float*>(memory->data());
      std::fill_n(p, floats, 0.5f);
      const auto take = [&](std::initializer_list<int64_t> shape) {
        const Tensor t = Tensor::of(p, shape);
        p += t.numel();
        return t;
      };
      QkvSplitArgs s{.mixed = take({T, columns}), .layout = layout};
      if (!whole) s.ba = take({T, gates});
      s.q = take({T, c.key_heads, c.key_dim}), s.k = take({T, c.key_heads, c.key_dim});
      s.v = take({T, c.value_heads, c.value_dim}), s.z = take({T, c.value_heads, c.value_dim});
      s.b = take({T, c.value_heads}), s.a = take({T, c.value_heads});
      benching::bench_impls("qkv_split", std::to_string(T) + (whole ? "/concatenated" : "/per_key_head"), qkv_split_impls(), s,
                            {.bytes = double(memory->size())}, memory);
    }
  return true;
}();

}  // namespace
}  // namespace sluice
