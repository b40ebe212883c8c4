// Memory of a bench of gqa_prefill or gqa_decode: the attention of Qwen3.5-0.8B (8 query and 2 key heads of 256), pages of 16 keys.
#pragma once

#include <vector>

#include "ops/gqa_prefill/gqa_prefill.h"

namespace sluice::benching {

struct GqaMemory {
  static constexpr int64_t kHeads = 8, kKvHeads = 2, kDim = 256, kPage = 16;

  // `rows` new rows in each of `batch` sequences of `length` keys.
  GqaMemory(int64_t batch, int64_t rows, int64_t length, DType cache)
      : pages((length + kPage - 1) / kPage),
        queries(batch * rows * kHeads * 2 * kDim),
        out(batch * rows * kHeads * kDim),
        k(size_t(batch * pages * kPage * kKvHeads * kDim) * dtype_size(cache)),
        v(k.size()) {
    uint32_t seed = 1;
    const auto next = [&] { return float(int32_t(seed = seed * 1664525 + 1013904223)) * 0x1p-31f; };  // LCG of Numerical Recipes
    for (float& x : queries) x = next();
    for (auto* bytes : {&k, &v})
      for (size_t i = 0; i < bytes->size() / dtype_size(cache); ++i) {
        if (cache == DType::kF32) reinterpret_cast<float*>(bytes->data())[i] = next();
        else reinterpret_cast<Bf16*>(bytes->data())[i] = Bf16(next());
      }
    for (int64_t i = 0; i < batch * pages; ++i) table.push_back(int32_t(i));
    for (int64_t b = 0; b <= batch; ++b) cu.push_back(int32_t(b * rows));
    lengths.assign(batch, int32_t(length));
    const int64_t cached = batch * pages;
    const Tensor q_gate = Tensor::of(queries.data(), {batch * rows, kHeads, 2 * kDim});
    args = {.q = q_gate.slice(2, 0, kDim),
            .gate = q_gate.slice(2, kDim, 2 * kDim),
            .k_cache = Tensor(k.data(), cache, {cached, kPage, kKvHeads, kDim}),
            .v_cache = Tensor(v.data(), cache, {cached, kPage, kKvHeads, kDim}),
            .block_table = Tensor::of(table.data(), {batch, pages}),
            .seq_lens = Tensor::of(lengths.data(), {batch}),
            .cu_seqlens = Tensor::of(cu.data(), {batch + 1}),
            .o = Tensor::of(out.data(), {batch * rows, kHeads, kDim}),
            .scale = 0.0625f};
  }

  int64_t pages;
  std::vector<float> queries, out;
  std::vector<std::byte> k, v;
  std::vector<int32_t> table, cu, lengths;
  GqaArgs args;
};

}  // namespace sluice::benching
