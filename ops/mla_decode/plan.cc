#include "ops/mla_decode/plan.h"

#include <algorithm>

#include "ops/mla_decode/forms.h"

namespace sluice {
namespace {

// Tasks a thread below which work is cut finer: with fewer, the last task to end leaves others idle.
constexpr int64_t kTasksAThread = 2;
constexpr size_t kMostPartBytes = size_t(256) << 20;  // of scratch for the spans' results; past it tiles stay whole

}  // namespace

MlaKeyList::MlaKeyList(const MlaDecodeArgs& a, int64_t row) : a_(a) {
  if (a.indices.present()) {
    entries_ = a.indices.as<int32_t>() + row * a.indices.stride[0], count_ = a.indices.dim(1);
    return;
  }
  const int64_t batch = a.seq_lens.dim(0);
  int64_t sequence, behind;  // rows of the sequence from this one on
  if (a.cu_seqlens.present()) {
    const int32_t* cu = a.cu_seqlens.as<int32_t>();
    sequence = std::upper_bound(cu, cu + batch + 1, row) - cu - 1, behind = cu[sequence + 1] - row;
  } else {
    const int64_t each = a.q_nope.dim(0) / batch;
    sequence = row / each, behind = each - row % each;
  }
  entries_ = a.block_table.as<int32_t>() + sequence * a.block_table.stride[0];
  count_ = std::max<int64_t>(0, a.seq_lens.as<int32_t>()[sequence] - behind + 1);
}

MlaPlan plan_mla_decode(const Context& ctx, const MlaDecodeArgs& a) {
  const int64_t T = a.q_nope.dim(0), H = a.q_nope.dim(1), R = a.q_nope.dim(2), P = a.q_pe.dim(2);
  MlaPlan p{.dims = {.first = R + P, .second = 0, .value = R}};
  p.heads = std::min(H, kMlaTileHeads);
  p.tiles_of_row = H > 0 ? ceil_div(H, kMlaTileHeads) : 0, p.tiles = T * p.tiles_of_row;
  p.most_spans = 0;
  for (int64_t t = 0; t < T; ++t) p.most_spans = std::max(p.most_spans, ceil_div(MlaKeyList(a, t).count(), kGqaSpan));
  const size_t state = size_t(p.dims.state_floats(p.heads)) * sizeof(float);
  const size_t parts = size_t(p.tiles * p.most_spans) * state;
  p.split = p.most_spans > 1 && p.tiles < kTasksAThread * ctx.team->size() && parts <= kMostPartBytes;
  const size_t block = mla_fp8(a) ? size_t(kGqaBlock * p.dims.first) * sizeof(Bf16) : 0;  // an fp8 block's bf16 rows
  p.thread_bytes = round_up(size_t(p.heads * p.dims.q_pitch()) * sizeof(float) + 2 * state + block, size_t(64));
  p.bytes = size_t(ctx.team->size()) * p.thread_bytes + (p.split ? parts : 0);
  return p;
}

size_t mla_decode_workspace(const Context& ctx, const MlaDecodeArgs& a) { return plan_mla_decode(ctx, a).bytes; }

}  // namespace sluice
