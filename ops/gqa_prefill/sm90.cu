// gqa_prefill on compute capability 9.0: which tiles there are and where their rows and pages lie. The attention is
// ops/mla_prefill/sm90_attention.cuh.
#include "core/cuda/launch.h"
#include "core/cuda/tma.h"
#include "ops/gqa_prefill/forms.h"
#include "ops/mla_prefill/sequences.cuh"
#include "ops/mla_prefill/sm90_attention.cuh"

namespace sluice {
namespace {

using namespace cuda;
namespace sm90 = attention_sm90;

constexpr int kBoxRows = kGqaSm90Page;  // keys and values come in boxes of so many rows, each of one page

struct Sequences {
  const int32_t *cu_q, *lengths;
  int count;

  __device__ MlaSequence at(int b) const { return {cu_q[b], int64_t(cu_q[b + 1]) - cu_q[b], 0, lengths[b]}; }
};

struct Call {
  CUtensorMap q, k, v;
  Sequences sequences;
  const int32_t* table;
  int table_row;
  Divider by_page, by_group;  // rows of a page; query heads of a key head
  int page;
  sm90::TileQueue queue;
  sm90::Outputs out;
};

template <int kDim, bool kGate>
class Source {
 public:
  // What leaves two stages in 227 KiB.
  static constexpr int kBlock = kDim == 256 ? 64 : 128;
  using Shape = sm90::Shape<kDim, kDim, kBlock, kGate>;

  __device__ explicit Source(const Call& c) : c_(c), taker_(c.queue) {}

  __device__ sm90::TileRows next() {
    return sm90::next_tile<MlaTile>(taker_, c_.sequences, [&](const MlaTile& tile, int head) { return rows_of(tile, head); });
  }
  __device__ void query(const sm90::TileRows& t, int row, uint8_t* to, uint64_t* bar) const {
#pragma unroll
    for (int x = 0; x < kDim; x += sm90::kBoxColumns)
      ptx::tma_load_3d(to + x * sm90::kGroupRows * 2, &c_.q, x, t.head, t.first_row + row, bar);
  }
  __device__ void keys(const sm90::TileRows& t, int begin, uint8_t* to, uint64_t* bar) const { copy(&c_.k, t, begin, to, bar); }
  __device__ void values(const sm90::TileRows& t, int begin, uint8_t* to, uint64_t* bar) const { copy(&c_.v, t, begin, to, bar); }
  __device__ void expect(const sm90::TileRows& t) const {
    for (int row = 0; row < t.rows; row += sm90::kGroupRows)
#pragma unroll
      for (int x = 0; x < kDim; x += sm90::kBoxColumns) ptx::tma_prefetch_3d(&c_.q, x, t.head, t.first_row + row);
  }

 private:
  __device__ sm90::TileRows rows_of(const MlaTile& tile, int head) const {
    const MlaSequence& s = tile.sequence;
    const int rows = int(min(s.rows - tile.begin, int64_t(sm90::kRows)));
    return {.first_row = int(s.first_row + tile.begin),
            .rows = rows,
            .place = tile.index,
            .keys = int(s.keys),
            .end = int(s.limit(tile.begin + rows - 1, true)),
            .before = int(s.keys - s.rows + tile.begin),
            .head = head};
  }
  // Behind the sequence's end there is no page, and the block's first one fills the place.
  __device__ void copy(const CUtensorMap* map, const sm90::TileRows& t, int begin, uint8_t* to, uint64_t* bar) const {
    const int32_t* pages = c_.table + int64_t(t.place) * c_.table_row;
    const int head = int(c_.by_group.divide(uint32_t(t.head)));
#pragma unroll
    for (int i = 0; i < kBlock; i += kBoxRows) {
      const int key = begin + i < t.keys ? begin + i : begin, page = int(c_.by_page.divide(uint32_t(key)));
      const int row = key - page * c_.page, where = pages[page];
#pragma unroll
      for (int x = 0; x < kDim; x += sm90::kBoxColumns)
        ptx::tma_load_4d(to + x * kBlock * 2 + i * sm90::kBoxRowBytes, map, x, head, row, where, bar);
    }
  }

  const Call& c_;
  sm90::TileTaker taker_;
};

Status encode_cache(CUtensorMap* map, const Tensor& t) {
  const auto stride = [&](int d) { return t.dim(d) > 1 ? t.stride[d] : t.dim(3); };  // of what is there once: any
  return encode_pages(map, {.type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                            .data = t.data,
                            .pages = t.dim(0),
                            .page = t.dim(1),
                            .H = t.dim(2),
                            .D = t.dim(3),
                            .page_stride = stride(0),
                            .row_stride = stride(1),
                            .head_stride = stride(2),
                            .rows = kBoxRows});
}

Status encode_query(CUtensorMap* map, const Tensor& q) {
  const auto stride = [&](int d) { return q.dim(d) > 1 ? q.stride[d] : q.dim(2); };
  return encode_rows(map, {.type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                           .data = q.data,
                           .T = q.dim(0),
                           .H = q.dim(1),
                           .D = q.dim(2),
                           .row_stride = stride(0),
                           .head_stride = stride(1),
                           .rows = sm90::kGroupRows,
                           .columns = sm90::kBoxColumns});
}

sm90::Outputs outputs_of(const GqaArgs& a) {
  constexpr int64_t kSize = sizeof(Bf16);
  constexpr float kLn2 = 0.693147180559945309f;
  return {.o = static_cast<char*>(a.o.data),
          .o_row = a.o.stride[0] * kSize,
          .o_head = a.o.stride[1] * kSize,
          .lse = a.lse.present() ? a.lse.as<float>() : nullptr,
          .lse_row = a.lse.stride[0],
          .lse_head = a.lse.stride[1],
          .o_is_f32 = false,
          .scale_log2 = a.scale * sm90::kLog2E,
          .to_base = kLn2,
          .gate = static_cast<const char*>(a.gate.data),
          .gate_row = a.gate.stride[0] * kSize,
          .gate_head = a.gate.stride[1] * kSize};
}

}  // namespace

size_t gqa_prefill_sm90_workspace(const Context&, const GqaArgs&) { return sizeof(uint32_t); }

Status gqa_prefill_sm90(Context& ctx, const GqaArgs& a, std::byte* scratch) {
  const int64_t heads = a.q.dim(1), kv_heads = a.k_cache.dim(2), group = heads / kv_heads, page = a.k_cache.dim(1);
  if (a.q.numel() == 0) return {};
  const int64_t most_keys = std::min(a.k_cache.dim(0), a.block_table.numel()) * page;
  Call call{.sequences = {a.cu_seqlens.as<int32_t>(), a.seq_lens.as<int32_t>(), int(a.seq_lens.dim(0))},
            .table = a.block_table.as<int32_t>(),
            .table_row = int(a.block_table.stride[0]),
            .by_page = Divider(page),
            .by_group = Divider(group),
            .page = int(page),
            .queue = {.tiles = uint32_t(sm90::most_tiles(a.q.dim(0), a.seq_lens.dim(0))),
                      .heads = uint32_t(heads),
                      .section = uint32_t(sm90::section_of(kv_heads, most_keys * a.q.dim(2) * 2 * int64_t(sizeof(Bf16))) * group)},
            .out = outputs_of(a)};
  SLUICE_RETURN_IF_ERROR(encode_query(&call.q, a.q));
  SLUICE_RETURN_IF_ERROR(encode_cache(&call.k, a.k_cache));
  SLUICE_RETURN_IF_ERROR(encode_cache(&call.v, a.v_cache));
  auto* counter = reinterpret_cast<uint32_t*>(scratch);
  const auto launch_dim = [&]<int kDim>() {
    return a.gate.present() ? sm90::launch_attention<Source<kDim, true>>(ctx, call, counter)
                            : sm90::launch_attention<Source<kDim, false>>(ctx, call, counter);
  };
  if (a.q.dim(2) == 64) return launch_dim.operator()<64>();
  if (a.q.dim(2) == 128) return launch_dim.operator()<128>();
  return launch_dim.operator()<256>();
}

}  // namespace sluice
