#include <numeric>

#include "ops/mla_decode/cases.h"
#include "ops/mla_decode/mla_decode.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

constexpr int64_t kLatent = 512, kRope = 64, kPage = 64;

std::string label_of(const MlaDecodeBenchCase& c, const std::string& kind) {
  return std::to_string(c.sequences) + "x" + std::to_string(c.rows) + "x" + std::to_string(c.heads) + "/" + kind + " " +
         std::to_string(c.keys);
}

// q, o and lse of T rows, and the work of `keys` keys for each row; key_bytes are read in all.
Call<MlaDecodeArgs> call_of(Inputs& in, MlaDecodeArgs a, int64_t T, int64_t heads, double keys, double key_bytes) {
  a.q_nope = in.normal(DType::kBF16, {T, heads, kLatent}), a.q_pe = in.normal(DType::kBF16, {T, heads, kRope});
  a.o = in.output(DType::kBF16, {T, heads, kLatent}), a.lse = in.output(DType::kF32, {T, heads});
  a.scale = 0.0721687836f;  // (128 + 64)^-0.5
  return {.args = a,
          .work = {.bytes = key_bytes + double(a.q_nope.bytes() + a.q_pe.bytes() + a.o.bytes() + a.lse.bytes()),
                   .flops = double(T) * keys * double(heads) * 2 * (2 * kLatent + kRope)},
          .outputs = {a.o}};
}

// Rows at the end of sequences that have pages of their own.
void add_dense(Where where, const MlaDecodeBenchCase& c) {
  bench<MlaDecodeArgs>({"mla_decode", label_of(c, "bf16"), where}, {mla_decode_impls(), check_mla_decode}, [c](Inputs& in) {
    const int64_t B = in.sequences(c.sequences), pages = c.keys / kPage;
    MlaDecodeArgs a{.kv = in.normal(DType::kBF16, {B * pages, kPage, kLatent + kRope})};
    a.block_table = in.count(B * pages).reshape({B, pages});
    a.seq_lens = in.ints(std::vector<int32_t>(size_t(B), int32_t(c.keys)));
    return call_of(in, a, B * c.rows, c.heads, double(c.keys), double(a.kv.bytes()));
  });
}

// Rows with lists of slots all over a cache that is larger than a second-level cache.
void add_sparse(Where where, const MlaDecodeBenchCase& c, bool fp8) {
  bench<MlaDecodeArgs>(
      {"mla_decode", label_of(c, fp8 ? "fp8 top" : "bf16 top"), where}, {mla_decode_impls(), check_mla_decode}, [=](Inputs& in) {
        constexpr int64_t kSlots = 131072, kStep = 50021;  // prime: a list names no slot twice
        const int64_t T = in.sequences(c.sequences) * c.rows;
        std::vector<int32_t> slots(size_t(T * c.keys));
        for (size_t i = 0; i < slots.size(); ++i) slots[i] = int32_t(int64_t(i) * kStep % kSlots);
        MlaDecodeArgs a;
        if (fp8) {  // codes of small numbers, scales of 2^-4, rope of 1
          const int64_t words = mla_fp8_row_bytes(kLatent, kRope) / 4;
          std::vector<int32_t> rows(size_t(kSlots * words));
          for (size_t i = 0; i < rows.size(); ++i) {
            const int64_t word = int64_t(i) % words;
            rows[i] = word < kLatent / 4       ? int32_t((i * 2654435761u) & 0xbfbfbfbfu)
                      : word < kLatent / 4 + 4 ? 0x3d800000
                                               : 0x3f803f80;
          }
          a.kv = in.ints(rows);
          a.kv.dtype = DType::kF8E4M3, a.kv = Tensor(a.kv.data, a.kv.dtype, {kSlots / kPage, kPage, words * 4}, a.kv.device);
        } else {
          a.kv = in.normal(DType::kBF16, {kSlots / kPage, kPage, kLatent + kRope});
        }
        a.indices = in.ints(slots).reshape({T, c.keys});
        const double row_bytes = double(a.kv.dim(2)) * double(dtype_size(a.kv.dtype));
        return call_of(in, a, T, c.heads, double(c.keys), double(T * c.keys) * row_bytes);
      });
}

const bool registered = [] {
  add_dense(Where::kBoth, {1, 1, 16, 4096});
  add_dense(Where::kBoth, {1, 1, 128, 1024});
  for (const MlaDecodeBenchCase& c : kMlaDecodeBenchCases) add_dense(Where::kGpu, c);
  for (const MlaDecodeBenchCase& c : kMlaSparseBenchCases)
    for (const bool fp8 : {false, true}) add_sparse(Where::kGpu, c, fp8);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
