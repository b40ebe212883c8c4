// A warp has a row: a token's part of one head, or its key. Runs of the part that does not turn are on their way while position,
// cosine and sine follow one another; of the part that turns a thread has one pair. Bound by memory.
#include "ops/mla_kv_store/packs.cuh"
#include "ops/mla_rope_quantize/forms.h"
#include "ops/mla_rope_quantize/parts.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kTogether = 2;  // runs of a thread under way: 512 elements of a row
constexpr int kBlocks = 4;    // of a multiprocessor at once: enough reads under way

// A pair of the rope part, before and after its turn.
template <class X>
struct RopePair {
  float x1, x2, cosine, sine;

  template <bool kWide>
  __device__ void load(const MlaRopeCall& call, const X* rope, const float* table, int i) {
    const int pairs = int(call.rope / 2);
    if (kWide && call.interleaved) {
      const Pack<X, 2> pair = reinterpret_cast<const Pack<X, 2>*>(rope)[i];
      x1 = pair[0], x2 = pair[1];
    } else {
      x1 = to_float(rope[call.interleaved ? 2 * i : i]), x2 = to_float(rope[call.interleaved ? 2 * i + 1 : i + pairs]);
    }
    cosine = table ? table[i] : NAN, sine = table ? table[i + pairs] : NAN;
  }
  // With the roundings of the vector form that fuses.
  template <bool kWide, class F8>
  __device__ void store(const MlaRopeCall& call, std::byte* rope, float scale, int i) const {
    const float y1 = fmaf(-x2, sine, __fmul_rn(x1, cosine)), y2 = fmaf(x1, sine, __fmul_rn(x2, cosine));
    const uint16_t codes = pack_fp8<F8>(__fmul_rn(y1, scale), __fmul_rn(y2, scale));
    if (kWide && call.interleaved) {
      *global(reinterpret_cast<uint16_t*>(rope) + i) = codes;
    } else {
      *global(rope + (call.interleaved ? 2 * i : i)) = std::byte{uint8_t(codes)};
      *global(rope + (call.interleaved ? 2 * i + 1 : i + int(call.rope / 2))) = std::byte{uint8_t(codes >> 8)};
    }
  }
};

// Runs `first`, `first` + 32 and so on of the part that does not turn; a run is 8 elements or one.
template <class From>
struct HeldRuns {
  From x[kTogether];

  __device__ void load(const From* from, int first, int runs) {
#pragma unroll
    for (int j = 0; j < kTogether; ++j)
      if (first + j * kWarp < runs) x[j] = from[first + j * kWarp];
  }
  template <class F8, class To>
  __device__ void store(To* to, float scale, int first, int runs) const {
#pragma unroll
    for (int j = 0; j < kTogether; ++j)
      if (first + j * kWarp < runs) *global(to + first + j * kWarp) = to_fp8<F8>(x[j], scale);
  }
};

template <bool kWide, class X, class F8>
__device__ void quantize_row(const MlaRopeCall& call, int64_t t, int64_t head, int lane) {
  using From = Pack<X, kWide ? kRun : 1>;
  using To = std::conditional_t<kWide, uint2, F8>;
  const int runs = int(call.nope) / (kWide ? kRun : 1), pairs = int(call.rope / 2);
  const float scale = call.scale(head);
  const From* nope = reinterpret_cast<const From*>(call.nope_in<X>(t, head));
  const X* rope = call.rope_in<X>(t, head);
  HeldRuns<From> held;
  held.load(nope, lane, runs);
  const float* table = call.cosines(call.positions[t]);
  RopePair<X> pair;
  if (lane < pairs) pair.template load<kWide>(call, rope, table, lane);
  const MlaRowOut out = call.out(t, head);
  if (out.nowhere) return;  // the same in all of the warp
  To* to = reinterpret_cast<To*>(out.nope);
  held.template store<F8>(to, scale, lane, runs);
#pragma unroll 1
  for (int first = lane + kTogether * kWarp; first < runs; first += kTogether * kWarp) {
    held.load(nope, first, runs);
    held.template store<F8>(to, scale, first, runs);
  }
  if (lane < pairs) pair.template store<kWide, F8>(call, out.rope, scale, lane);
#pragma unroll 1
  for (int i = lane + kWarp; i < pairs; i += kWarp) {
    pair.template load<kWide>(call, rope, table, i);
    pair.template store<kWide, F8>(call, out.rope, scale, i);
  }
}

// Tokens from `first` on, `rows` rows of them: fewer than 2^31, so that a division of 32 bits finds a row's token.
template <bool kWide, class X, class F8>
__global__ void __launch_bounds__(kMostRowWarps* kWarp, kBlocks)
    mla_rope_quantize_kernel(const __grid_constant__ MlaRopeCall call, int64_t first, uint32_t rows) {
  wait_for_previous_kernel();
  const uint32_t row = blockIdx.x * (blockDim.x / kWarp) + threadIdx.x / kWarp;
  if (row < rows) {
    const uint32_t of_token = uint32_t(call.rows), token = row / of_token;
    quantize_row<kWide, X, F8>(call, first + token, row - token * of_token, threadIdx.x % kWarp);
  }
}

// Whether every row of a part begins at a multiple of `bytes`, a power of two.
bool rows_on(int64_t bytes, const MlaPart& part) {
  return ((reinterpret_cast<uintptr_t>(part.data) | uint64_t(part.token) | uint64_t(part.head)) & uint64_t(bytes - 1)) == 0;
}

// Whether runs of 8 elements, and pairs of interleaved ones, may be accessed at once. Parts that are absent begin at 0.
bool has_wide_rows(const MlaRopeCall& call, int64_t element) {
  const MlaSlots& slots = call.slots;
  const uint64_t slot_rows = reinterpret_cast<uintptr_t>(slots.data) | uint64_t(slots.page_stride) | uint64_t(slots.row_stride);
  return call.nope % kRun == 0 && rows_on(16, call.q_nope) && rows_on(16, call.k_nope) && rows_on(2 * element, call.q_rope) &&
         rows_on(2 * element, call.k_rope) && rows_on(kRun, call.q_nope_out) && rows_on(kRun, call.k_nope_out) &&
         rows_on(2, call.q_rope_out) && rows_on(2, call.k_rope_out) && slot_rows % kRun == 0;
}

template <class X, class F8>
Status quantize_tokens(Context& ctx, const MlaRopeCall& call) {
  const auto kernel =
      has_wide_rows(call, sizeof(X)) ? mla_rope_quantize_kernel<true, X, F8> : mla_rope_quantize_kernel<false, X, F8>;
  if (call.rows == 0) return {};
  const int64_t most = std::max<int64_t>(INT_MAX / call.rows, 1);  // tokens of a launch
  for (int64_t first = 0; first < call.tokens; first += most) {
    const int64_t rows = std::min(most, call.tokens - first) * call.rows;
    SLUICE_RETURN_IF_ERROR(launch(ctx, kernel, row_warps(ctx, rows), call, first, rows));
  }
  return {};
}

}  // namespace

Status mla_rope_quantize_cuda(Context& ctx, const MlaRopeQuantizeArgs& args, std::byte*) {
  const MlaRopeCall call(args);
  return visit_mla_value(args.q_rope.present() ? args.q_rope : args.k_rope, [&]<class X>(X*) {
    return visit_mla_fp8(args, [&]<class F8>(F8*) { return quantize_tokens<X, F8>(ctx, call); });
  });
}

}  // namespace sluice
