// The keys that a row sees, on a GPU; as keys.h.
#pragma once

#include "core/cuda/rows.cuh"
#include "ops/mla_decode/keys.h"

namespace sluice::cuda {

// A row's list: pages of its sequence, or slots.
struct MlaList {
  const int32_t* entries = nullptr;
  int64_t count = 0;
};

struct MlaKeys {
  const char* kv;
  int64_t page_bytes, place_bytes;  // strides
  int64_t slots;
  const int32_t *table, *lengths, *cu, *indices;  // indices null: dense
  int64_t list_stride;
  int page, batch, each, topk;  // each: rows of a sequence without a cu

  explicit MlaKeys(const MlaDecodeArgs& a)
      : kv(static_cast<const char*>(a.kv.data)),
        page_bytes(a.kv.stride[0] * int64_t(dtype_size(a.kv.dtype))),
        place_bytes(a.kv.stride[1] * int64_t(dtype_size(a.kv.dtype))),
        slots(a.kv.dim(0) * a.kv.dim(1)),
        table(ints(a.block_table)),
        lengths(ints(a.seq_lens)),
        cu(ints(a.cu_seqlens)),
        indices(ints(a.indices)),
        list_stride(a.indices.present() ? a.indices.stride[0] : a.block_table.stride[0]),
        page(int(a.kv.dim(1))),
        batch(int(a.seq_lens.shape[0])),
        each(int(a.seq_lens.present() && batch > 0 ? a.q_nope.dim(0) / batch : 1)),
        topk(int(a.indices.shape[1])) {}

  // Of a row of q; all threads of the warp call it.
  __device__ MlaList list(int64_t row) const {
    if (indices) return {indices + row * list_stride, topk};
    int64_t sequence, behind;  // rows of the sequence from this one on
    if (cu) sequence = sequence_of<kWarp>(cu, batch, row), behind = cu[sequence + 1] - row;
    else sequence = row / each, behind = each - row % each;
    return {table + sequence * list_stride, max(int64_t(0), lengths[sequence] - behind + 1)};
  }
  // What entry j of a list says, for row_of: a page, or a slot; below 0 where there is no entry.
  __device__ int32_t entry(const MlaList& list, int64_t j) const {
    if (j >= list.count) return -1;
    return list.entries[indices ? uint32_t(j) : uint32_t(j) / uint32_t(page)];
  }
  // The row of the cache that it names; null where it names none.
  __device__ const char* row_of(int32_t entry, int64_t j) const {
    const uint32_t size = uint32_t(page);
    if (entry < 0) return nullptr;
    if (!indices) return kv + entry * page_bytes + uint32_t(j) % size * place_bytes;
    return entry < slots ? kv + uint32_t(entry) / size * page_bytes + uint32_t(entry) % size * place_bytes : nullptr;
  }
  __device__ const char* at(const MlaList& list, int64_t j) const { return row_of(entry(list, j), j); }

 private:
  static const int32_t* ints(const Tensor& t) { return t.present() ? t.as<int32_t>() : nullptr; }
};

}  // namespace sluice::cuda
