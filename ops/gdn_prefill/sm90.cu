// gdn_prefill on compute capability 9.0: tensor cores through wgmma, operands through the copy engine; see sm90.cuh.
#include <algorithm>

#include "core/cuda/launch.h"
#include "core/cuda/tma.h"
#include "ops/gdn_prefill/sm90.h"
#include "ops/gdn_prefill/sm90_ahead.cuh"
#include "ops/gdn_prefill/sm90_map.cuh"
#include "ops/gdn_prefill/sm90_plan.cuh"
#include "ops/gdn_prefill/sm90_update.cuh"

namespace sluice {
namespace gdn_sm90 {

static_assert(sizeof(UpdateShared) <= 227 << 10 && sizeof(KeysQueries) % 1024 == 0 && sizeof(Solved) % 1024 == 0);

// Chunks of all value heads for each multiprocessor up to which they are solved ahead of the update: there a launch's latencies
// decide. Where there are more, the memory's rate does, and T and P T had better not cross it.
constexpr int kFewChunks = 9;

// Fills in the bounds and the workspace; returns its size.
size_t place_workspace(Params& p, std::byte* scratch, int sms) {
  size_t at = 0;
  const auto take = [&](auto*& to, int64_t count) {
    to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(scratch + at);
    at += (sizeof(*to) * count + 1023) / 1024 * 1024;
  };
  p.sms = sms, p.max_chunks = int32_t(p.T / kC + 2 * int64_t(p.B));  // a sequence's first and last chunk may be short
  // A sequence is cut where it is longer than a multiprocessor's share of all chunks of all heads, into segments of such a share;
  // that makes at most as many as shares, and as many again as sequences are cut. Where there are more heads than two a
  // multiprocessor, a long sequence that starts first ends among the others.
  const bool cut = p.HV <= sms && int64_t(p.B) * p.HV <= 2 * sms && p.T >= 2 * kMinSegment * kC;
  const bool ahead = int64_t(p.max_chunks) * p.HV <= int64_t(kFewChunks) * sms;
  p.max_cuts = cut ? std::min(2 * sms / p.HV, kMaxCuts) : 0, p.max_segments = p.B + p.max_cuts;
  take(p.counts, 1), take(p.units, p.max_segments), take(p.cut_units, p.max_cuts), take(p.first_chunk, p.B);
  take(p.tickets, int64_t(p.B) * p.HK);
  if (ahead) take(p.chunk_rows, p.max_chunks), take(p.solved, int64_t(p.max_chunks) * p.HV);
  take(p.states, int64_t(p.max_cuts) * p.HV * kDim * kDim), take(p.maps, int64_t(p.max_cuts) * p.HV * kDim * kDim);
  take(p.mapped, p.max_cuts * p.HV);
  return at;
}

// Value heads of one key head that a block of `solve` takes, where there is work enough for all multiprocessors without one head a
// block.
int heads_a_block(const Params& p) {
  int heads = kMaxHeads;
  while (p.HV / p.HK % heads || (heads > 1 && int64_t(p.max_chunks) * p.HV / heads < 2 * p.sms)) --heads;
  return heads;
}

template <int Rows>
Status launch_join(const Context& ctx, const Params& p) {
  return cuda::launch(ctx, gdn_prefill_sm90_join<Rows>,
                      {.grid = dim3(std::min(kDim / Rows * p.HV, p.sms)),
                       .block = kJoinThreads,
                       .shared = sizeof(JoinShared<Rows>),
                       .dependent = true},
                      p);
}

Status launch(const Context& ctx, const Params& p) {
  const auto blocks = [&](int64_t units) { return dim3(unsigned(std::min<int64_t>(units, p.sms))); };
  SLUICE_RETURN_IF_ERROR(cuda::launch(ctx, gdn_prefill_sm90_plan, {.grid = 1, .block = kPlanThreads, .dependent = true}, p));
  if (p.solved) {
    const int heads = heads_a_block(p);
    SLUICE_RETURN_IF_ERROR(cuda::launch(
        ctx, gdn_prefill_sm90_solve,
        {.grid = dim3(p.max_chunks, p.HV / heads), .block = kGroup, .shared = sizeof(SolveShared), .dependent = true}, p, heads));
  }
  if (p.max_cuts) {
    SLUICE_RETURN_IF_ERROR(cuda::launch(
        ctx, p.solved ? gdn_prefill_sm90_map<true> : gdn_prefill_sm90_map<false>,
        {.grid = blocks(2 * p.max_cuts * p.HV), .block = kUpdateThreads, .shared = sizeof(UpdateShared), .dependent = true}, p));
    // Every block reads all of M: with many heads fewer blocks are enough.
    SLUICE_RETURN_IF_ERROR(p.HV > 8 ? launch_join<16>(ctx, p) : launch_join<8>(ctx, p));
  }
  return cuda::launch(
      ctx, p.solved ? gdn_prefill_sm90_update<true> : gdn_prefill_sm90_update<false>,
      {.grid = blocks(int64_t(p.max_segments) * p.HV), .block = kUpdateThreads, .shared = sizeof(UpdateShared), .dependent = true},
      p);
}

// What does not depend on the workspace.
Params make_params(const GdnPrefillArgs& a) {
  Params p{};
  set_call(p, a, a.k);
  p.T = a.q.dim(0);
  return p;
}

size_t normalised_bytes(const GdnPrefillArgs& a) {
  return a.qk_l2norm ? (sizeof(__nv_bfloat16) * a.q.dim(0) * a.k.dim(1) * kDim + 1023) / 1024 * 1024 : 0;
}

// q and k divided by their norms, and p's view of them.
Status normalise(Context& ctx, const GdnPrefillArgs& a, Params& p, Tensor& q, Tensor& k, std::byte* scratch) {
  const auto in = [](const Tensor& t) { return RowsIn{static_cast<const __nv_bfloat16*>(t.data), t.stride[0], t.stride[1]}; };
  const RowsIn from_q = in(q), from_k = in(k);
  q = Tensor(scratch, DType::kBF16, {p.T, p.HK, kDim}), k = Tensor(scratch + normalised_bytes(a), DType::kBF16, {p.T, p.HK, kDim});
  p.k_rows = static_cast<const __nv_bfloat16*>(k.data), p.k_row_stride = k.stride[0], p.k_head_stride = k.stride[1];
  const int64_t rows = p.T * p.HK;
  constexpr int kRows = kNormaliseThreads / 32;
  return cuda::launch(ctx, gdn_prefill_sm90_normalise,
                      {.grid = dim3((rows + kRows - 1) / kRows, 2), .block = kNormaliseThreads, .dependent = true}, from_q, from_k,
                      static_cast<__nv_bfloat16*>(q.data), static_cast<__nv_bfloat16*>(k.data), rows, p.HK, a.l2_eps);
}

// A tensor without rows needs an address all the same.
Status encode(CUtensorMap* map, const Tensor& t, uint32_t columns, void* somewhere) {
  return cuda::encode_rows(map, {CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, t.dim(0) ? t.data : somewhere, std::max<int64_t>(t.dim(0), 1),
                                 t.dim(1), kDim, t.stride[0], t.stride[1], kC, columns});
}

}  // namespace gdn_sm90

size_t gdn_prefill_sm90_workspace(const Context& ctx, const GdnPrefillArgs& a) {
  gdn_sm90::Params p = gdn_sm90::make_params(a);
  return gdn_sm90::place_workspace(p, nullptr, ctx.gpu->sms) + 2 * gdn_sm90::normalised_bytes(a);
}

Status gdn_prefill_sm90(Context& ctx, const GdnPrefillArgs& a, std::byte* scratch) {
  using namespace gdn_sm90;
  if (a.slots.dim(0) == 0) return {};
  Params p = make_params(a);
  Tensor q = a.q, k = a.k;
  const size_t used = place_workspace(p, scratch, ctx.gpu->sms);
  if (a.qk_l2norm) SLUICE_RETURN_IF_ERROR(normalise(ctx, a, p, q, k, scratch + used));
  SLUICE_RETURN_IF_ERROR(encode(&p.q, q, 64, scratch));
  SLUICE_RETURN_IF_ERROR(encode(&p.k, k, 64, scratch));
  SLUICE_RETURN_IF_ERROR(encode(&p.v, a.v, 64, scratch));
  SLUICE_RETURN_IF_ERROR(encode(&p.o_map, a.o, 16, scratch));
  return launch(ctx, p);
}

}  // namespace sluice
