// What the tensor-core forms share: how a call is cut into tiles of query rows and stretches of keys, which of it a block of
// threads has, and the merge of stretches.
#pragma once

#include "core/context.h"
#include "ops/mla_decode/keys.cuh"

namespace sluice::mla_tiles {

using cuda::kWarp, cuda::MlaKeys, cuda::MlaList;
namespace ptx = cuda::ptx;

inline constexpr int kLatent = 512, kRope = 64;
inline constexpr int kBlock = 64;                      // keys
inline constexpr int kChunks = (kLatent + kRope) / 8;  // of 16 bytes, of a query's or a key's bf16 row
inline constexpr int kLatentChunks = kLatent / 8;
inline constexpr int kFp8Bytes = int(mla_fp8_row_bytes(kLatent, kRope));

// How a call is cut into blocks of threads.
struct Cut {
  int rows;         // of a tile: 16, 32 or 64
  int tokens;       // of a tile, at most
  int head_tiles;   // of a token
  int64_t groups;   // of tokens
  int groups_each;  // groups of a sequence
  int splits;       // of a list
  int64_t blocks() const { return groups * head_tiles * splits; }
};

struct Call {
  MlaKeys keys;
  Cut cut;
  const char *q_nope, *q_pe;
  int64_t q_nope_row, q_nope_head, q_pe_row, q_pe_head;  // strides in bytes
  bool q_is_f32, o_is_f32;
  char* o;
  int64_t o_row, o_head;  // bytes
  float* lse;
  int64_t lse_row, lse_head;
  float *part_o, *part_lse;  // [T, H, splits, ..]; logarithms of base 2
  int64_t tokens;
  int heads;
  float scale_log2, to_base;  // base 2 logarithms to lse's base
};

// The tile that a block of threads has.
struct Work {
  int64_t token;                  // the first
  int tokens, first_head, width;  // heads of a token
  int split;
  MlaList list;  // of the last token, which sees the most keys

  __device__ explicit Work(const Call& c) {
    const int64_t tile = blockIdx.x / uint32_t(c.cut.head_tiles), group = tile / uint32_t(c.cut.splits);
    first_head = int(blockIdx.x % uint32_t(c.cut.head_tiles)) * c.cut.rows, split = int(tile % uint32_t(c.cut.splits));
    width = min(c.heads, c.cut.rows);
    token = group, tokens = 1;
    if (c.cut.tokens > 1) {  // of equally long sequences
      const int64_t sequence = group / c.cut.groups_each, in_sequence = group % c.cut.groups_each * c.cut.tokens;
      token = sequence * c.keys.each + in_sequence;
      tokens = int(min(int64_t(c.cut.tokens), c.keys.each - in_sequence));
    }
    list = c.keys.list(token + tokens - 1);
  }
  __device__ int token_of(int row) const { return row / width; }
  __device__ int head_of(int row) const { return first_head + row % width; }
  __device__ bool has(const Call& c, int row) const { return token_of(row) < tokens && head_of(row) < c.heads; }
  // List entries that a row sees.
  __device__ int64_t limit(int row) const { return list.count - (tokens - 1 - min(token_of(row), tokens - 1)); }
};

// 8 elements of a query's row as bf16.
__device__ inline uint4 query_chunk(const char* row, bool is_f32, int chunk) {
  if (!is_f32) return *reinterpret_cast<const uint4*>(row + chunk * 16);
  const float4 a = *reinterpret_cast<const float4*>(row + chunk * 32), b = *reinterpret_cast<const float4*>(row + chunk * 32 + 16);
  return make_uint4(ptx::pack_bf16(a.x, a.y), ptx::pack_bf16(a.z, a.w), ptx::pack_bf16(b.x, b.y), ptx::pack_bf16(b.z, b.w));
}

// --- the host's side ---

// Tiles of 16, 32 or 64 rows, in the number of stretches of keys that takes the least time.
Cut cut_call(const MlaDecodeArgs& a, int rows, int sms);
size_t workspace_of(const Cut& cut, const MlaDecodeArgs& a);
Call make_call(const MlaDecodeArgs& a, const Cut& cut, std::byte* scratch);
// Behind the kernel that left the stretches' results.
Status merge_stretches(const Context& ctx, const Call& call);

}  // namespace sluice::mla_tiles
