// mla_prefill on compute capability 9.0: which tiles there are and where their rows lie. The attention is sm90_attention.cuh.
#include "core/cuda/launch.h"
#include "core/cuda/tma.h"
#include "ops/merge_state/states.h"
#include "ops/mla_prefill/forms.h"
#include "ops/mla_prefill/sequences.cuh"
#include "ops/mla_prefill/sm90_attention.cuh"

namespace sluice {
namespace {

using namespace cuda;
namespace sm90 = attention_sm90;

constexpr int kRope = 64;

struct Call {
  CUtensorMap q, k_nope, k_pe, v;
  MlaSequences sequences;
  sm90::TileQueue queue;
  sm90::Outputs out;
};

template <int kNope, int kValue>
class Source {
 public:
  __device__ explicit Source(const Call& c) : c_(c), taker_(c.queue) {}

  __device__ sm90::TileRows next() {
    return sm90::next_tile<MlaTile>(taker_, c_.sequences, [&](const MlaTile& tile, int head) { return rows_of(tile, head); });
  }
  __device__ void query(const sm90::TileRows& t, int row, uint8_t* to, uint64_t* bar) const {
    copy<kNope + kRope>(&c_.q, t.head, t.first_row + row, to, sm90::kGroupRows, bar);
  }
  __device__ void keys(const sm90::TileRows& t, int begin, uint8_t* to, uint64_t* bar) const {
    copy<kNope>(&c_.k_nope, t.head, t.place + begin, to, kBlock, bar);
    copy<kRope>(&c_.k_pe, 0, t.place + begin, to + kBlock * kNope * 2, kBlock, bar);
  }
  __device__ void values(const sm90::TileRows& t, int begin, uint8_t* to, uint64_t* bar) const {
    copy<kValue>(&c_.v, t.head, t.place + begin, to, kBlock, bar);
  }

  __device__ void expect(const sm90::TileRows& t) const {
    for (int row = 0; row < t.rows; row += sm90::kGroupRows)
#pragma unroll
      for (int x = 0; x < kNope + kRope; x += sm90::kBoxColumns) ptx::tma_prefetch_3d(&c_.q, x, t.head, t.first_row + row);
  }

  // What leaves two stages in 227 KiB.
  static constexpr int kBlock = kValue == 128 ? 128 : 80;
  using Shape = sm90::Shape<kNope + kRope, kValue, kBlock>;
  static constexpr int kNopeSize = kNope, kValueSize = kValue;

 private:
  __device__ sm90::TileRows rows_of(const MlaTile& tile, int head) const {
    const MlaSequence& s = tile.sequence;
    const int rows = int(min(s.rows - tile.begin, int64_t(sm90::kRows)));
    const int end = int(s.limit(tile.begin + rows - 1, c_.sequences.causal));
    return {.first_row = int(s.first_row + tile.begin),
            .rows = rows,
            .place = int(s.first_key),
            .keys = int(s.keys),
            .end = end,
            .before = c_.sequences.causal ? int(s.keys - s.rows + tile.begin) : end - 1,
            .head = head};
  }
  template <int kColumns>
  __device__ static void copy(const CUtensorMap* map, int head, int row, uint8_t* to, int rows, uint64_t* bar) {
#pragma unroll
    for (int x = 0; x < kColumns; x += sm90::kBoxColumns) ptx::tma_load_3d(to + x * rows * 2, map, x, head, row, bar);
  }

  const Call& c_;
  sm90::TileTaker taker_;
};

// Rows [T, H, D], or [T, D] as those of one head. A tensor without rows needs an address all the same.
Status encode(CUtensorMap* map, const Tensor& t, uint32_t rows, void* somewhere) {
  const bool has_heads = t.rank == 3;
  const int64_t T = t.dim(0), H = has_heads ? t.dim(1) : 1, D = t.dim(t.rank - 1);
  const auto stride = [&](int64_t count, int d) { return count > 1 ? t.stride[d] : D; };  // of what is there once: any
  return encode_rows(map, {.type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                           .data = T ? t.data : somewhere,
                           .T = std::max<int64_t>(T, 1),
                           .H = H,
                           .D = D,
                           .row_stride = stride(T, 0),
                           .head_stride = stride(H, 1),
                           .rows = rows,
                           .columns = sm90::kBoxColumns});
}

sm90::Outputs outputs_of(const MlaPrefillArgs& a) {
  const int64_t size = int64_t(dtype_size(a.o.dtype));
  return {.o = static_cast<char*>(a.o.data),
          .o_row = a.o.stride[0] * size,
          .o_head = a.o.stride[1] * size,
          .lse = a.lse.present() ? a.lse.as<float>() : nullptr,
          .lse_row = a.lse.stride[0],
          .lse_head = a.lse.stride[1],
          .o_is_f32 = a.o.dtype == DType::kF32,
          .scale_log2 = a.scale * sm90::kLog2E,
          .to_base = float(kLn2 / natural_log_of(a.base))};
}

template <class Source>
Status launch_heads(const Context& ctx, const MlaPrefillArgs& a, std::byte* scratch) {
  const int64_t H = a.q.dim(1), head_bytes = a.k_nope.dim(0) * (Source::kNopeSize + Source::kValueSize) * int64_t(sizeof(Bf16));
  if (a.q.dim(0) * H == 0) return {};
  Call call{.sequences = MlaSequences(a),
            .queue = {.tiles = uint32_t(sm90::most_tiles(a.q.dim(0), a.cu_seqlens_q.dim(0) - 1)),
                      .heads = uint32_t(H),
                      .section = uint32_t(sm90::section_of(H, head_bytes))},
            .out = outputs_of(a)};
  SLUICE_RETURN_IF_ERROR(encode(&call.q, a.q, sm90::kGroupRows, scratch));
  SLUICE_RETURN_IF_ERROR(encode(&call.k_nope, a.k_nope, Source::kBlock, scratch));
  SLUICE_RETURN_IF_ERROR(encode(&call.k_pe, a.k_pe, Source::kBlock, scratch));
  SLUICE_RETURN_IF_ERROR(encode(&call.v, a.v, Source::kBlock, scratch));
  return sm90::launch_attention<Source>(ctx, call, reinterpret_cast<uint32_t*>(scratch));
}

}  // namespace

size_t mla_prefill_sm90_workspace(const Context&, const MlaPrefillArgs&) { return sizeof(uint32_t); }

Status mla_prefill_sm90(Context& ctx, const MlaPrefillArgs& a, std::byte* scratch) {
  return a.v.dim(2) == 128 ? launch_heads<Source<128, 128>>(ctx, a, scratch) : launch_heads<Source<192, 256>>(ctx, a, scratch);
}

}  // namespace sluice
