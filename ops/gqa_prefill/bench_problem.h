// Calls of the benches of gqa_prefill and gqa_decode: pages of 64 keys in falling order.
#pragma once

#include <string>
#include <vector>

#include "ops/gqa_prefill/gqa_prefill.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {

struct GqaBenchCase {
  int64_t sequences, rows, length;             // new rows in each sequence, and its keys with them
  int64_t heads = 8, kv_heads = 2, dim = 256;  // Qwen3.5-0.8B's
};

template <class Args>
Call<Args> gqa_call(Inputs& in, const GqaBenchCase& c, DType q_type, DType cache, bool one_row_each) {
  constexpr int64_t kPage = 64;
  const int64_t B = c.sequences, T = B * c.rows, per = (c.length + kPage - 1) / kPage;
  std::vector<int32_t> table, cu;
  for (int64_t p = B * per; p-- > 0;) table.push_back(int32_t(p));
  for (int64_t b = 0; b <= B; ++b) cu.push_back(int32_t(b * c.rows));
  const Tensor q_gate = in.normal(q_type, {T, c.heads, 2 * c.dim});
  Args args;
  args.q = q_gate.slice(2, 0, c.dim), args.gate = q_gate.slice(2, c.dim, 2 * c.dim);
  args.k_cache = in.normal(cache, {B * per, kPage, c.kv_heads, c.dim});
  args.v_cache = in.normal(cache, {B * per, kPage, c.kv_heads, c.dim});
  args.block_table = in.ints(table).reshape({B, per});
  args.seq_lens = in.ints(std::vector<int32_t>(size_t(B), int32_t(c.length)));
  if (!one_row_each) args.cu_seqlens = in.ints(cu);
  args.o = in.output(cache, {T, c.heads, c.dim});  // on the CPU, bf16 models have q in f32
  args.scale = 0.0625f;
  const double pairs = double(T) * (double(c.length - c.rows) + double(c.rows + 1) / 2) * double(c.heads);  // of queries and keys
  const double keys = double(B * c.length * c.kv_heads * c.dim) * 2 * double(dtype_size(cache));
  return {.args = args,
          .work = {.bytes = keys + double(q_gate.bytes() + args.o.bytes()), .flops = pairs * 4 * double(c.dim)},
          .outputs = {args.o}};
}

}  // namespace sluice::benching
