// A warp has a row. What fits its registers is on the way while the row's place is looked up; nothing else is waited for. Bound by
// memory, and below some thousand rows by its latency.
#include "core/cuda/launch.h"
#include "ops/mla_kv_store/forms.h"
#include "ops/mla_kv_store/packs.cuh"
#include "ops/mla_kv_store/slots.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kBlocks = 4;    // of a multiprocessor at once: enough reads under way
constexpr int kTogether = 3;  // accesses of a thread under way: 512 | 64 elements of bf16 are 72 of 16 bytes, 2.25 a thread

struct StoreCall {
  MlaRows latent, rope;
  IndexView loc;
  MlaSlots slots;
  float by = 1;  // what elements are multiplied with
};

// --- formats without scales of groups: every element, or run of elements, by itself ---

// What a thread holds of a row, as it came.
template <class From>
struct Held {
  From x[kTogether];

  // Units `first`, `first` + 32 and so on of the `units` of a row, whose first `latents` are the latent's.
  __device__ void load(const StoreCall& call, int64_t row, int64_t first, int64_t latents, int64_t units) {
    const From *latent = call.latent.row<From>(row), *rope = call.rope.row<From>(row);
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      const int64_t i = first + j * kWarp;
      const From* from = i < latents ? latent + i : rope + (i - latents);
      if (i < units) x[j] = *from;
    }
  }
  template <class To>
  __device__ void store(To* to, int64_t first, int64_t units, float by) const {
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      const int64_t i = first + j * kWarp;
      if (i >= units) continue;
      if constexpr (std::is_same_v<From, To>) to[i] = x[j];
      else to[i] = to_fp8<F8E4M3>(x[j], by);
    }
  }
};

// From, To: a unit of the row in either format, an element or several neighbours.
template <class From, class To>
__device__ void store_units(const StoreCall& call, int64_t row, int lane, int64_t latents, int64_t units) {
  const int64_t loc = call.loc[row];
  Held<From> held;
  held.load(call, row, lane, latents, units);
  std::byte* place = call.slots.row(loc);
  if (!place) return;
  To* to = reinterpret_cast<To*>(place);
  held.store(to, lane, units, call.by);
#pragma unroll 1
  for (int64_t first = lane + kTogether * kWarp; first < units; first += kTogether * kWarp) {
    held.load(call, row, first, latents, units);
    held.store(to, first, units, call.by);
  }
}

template <class From, class To>
__global__ void __launch_bounds__(kMostRowWarps* kWarp, kBlocks)
    mla_kv_store_kernel(const __grid_constant__ StoreCall call, int64_t latents, int64_t units) {
  wait_for_previous_kernel();
  const int64_t warps = blockDim.x / kWarp;
  for (int64_t row = blockIdx.x * warps + threadIdx.x / kWarp; row < call.latent.count; row += gridDim.x * warps)
    store_units<From, To>(call, row, threadIdx.x % kWarp, latents, units);
}

// --- FlashMLA's V32: half a warp has a group of the latent ---

constexpr int kGroupThreads = int(kMlaV32Group) / kRun;
constexpr int kGroupsTogether = 2;  // of half a warp: 512 elements are on their way at once

// Thread `lane`'s run of a group; zeros behind the last group.
template <bool kWide, class X>
__device__ Pack<X, kRun> load_group(const X* latent, int64_t d, int64_t length) {
  Pack<X, kRun> run{};
  if (d >= length) return run;
  if constexpr (kWide) {
    run = *reinterpret_cast<const Pack<X, kRun>*>(latent + d);
  } else {
#pragma unroll
    for (int i = 0; i < kRun; ++i) run.set(i, latent[d + i]);
  }
  return run;
}

// All threads of the warp take part.
template <class X>
__device__ void store_group(const Pack<X, kRun>& run, std::byte* to, int64_t d, int64_t length) {
  float amax = 0;
#pragma unroll
  for (int i = 0; i < kRun; ++i) amax = fmaxf(amax, fabsf(run[i]));  // passes NaN over
#pragma unroll
  for (int away = kGroupThreads / 2; away > 0; away /= 2) amax = fmaxf(amax, __shfl_xor_sync(0xffffffffu, amax, away));
  if (d >= length) return;
  const uint32_t exponent = mla_v32_exponent(amax);
  *reinterpret_cast<uint2*>(to + d) = to_fp8<F8E4M3>(run, mla_power_of_2(2 * 127 - exponent));
  if (d % kMlaV32Group == 0)
    *reinterpret_cast<float*>(to + mla_v32_scales_at(length) + d / kMlaV32Group * int64_t(sizeof(float))) =
        mla_power_of_2(exponent);
}

// Two elements of the rope at a time, since a row's rope begins at a multiple of 4 bytes.
template <bool kWide, class X>
__device__ Pack<X, 2> load_pair(const X* rope, int64_t d, int64_t length) {
  Pack<X, 2> pair{};
  if constexpr (kWide) {
    if (d + 1 < length) return *reinterpret_cast<const Pack<X, 2>*>(rope + d);
  } else if (d + 1 < length) {
    pair.set(1, rope[d + 1]);
  }
  if (d < length) pair.set(0, rope[d]);
  return pair;
}
template <class X>
__device__ void store_pair(const Pack<X, 2>& pair, std::byte* to, int64_t d, int64_t length) {
  const uint32_t bf16 = ptx::pack_bf16(pair[0], pair[1]);
  if (d + 1 < length) *reinterpret_cast<uint32_t*>(to + 2 * d) = bf16;
  else if (d < length) *reinterpret_cast<uint16_t*>(to + 2 * d) = uint16_t(bf16);
}

template <bool kWide, class X>
__device__ void store_v32(const StoreCall& call, int64_t row, int lane) {
  const int64_t loc = call.loc[row], L = call.latent.length, R = call.rope.length;
  const X *latent = call.latent.row<X>(row), *rope = call.rope.row<X>(row);
  Pack<X, kRun> run[kGroupsTogether];
#pragma unroll
  for (int j = 0; j < kGroupsTogether; ++j) run[j] = load_group<kWide>(latent, (j * kWarp + lane) * kRun, L);
  const Pack<X, 2> pair = load_pair<kWide>(rope, 2 * lane, R);
  std::byte* to = call.slots.row(loc);  // the same in all of the warp
  if (!to) return;
#pragma unroll 1
  for (int64_t first = 0; first < L;) {
#pragma unroll
    for (int j = 0; j < kGroupsTogether; ++j) store_group(run[j], to, first + (j * kWarp + lane) * kRun, L);
    first += kGroupsTogether * kWarp * kRun;
    if (first >= L) break;
#pragma unroll
    for (int j = 0; j < kGroupsTogether; ++j) run[j] = load_group<kWide>(latent, first + (j * kWarp + lane) * kRun, L);
  }
  std::byte* to_rope = to + mla_v32_rope_at(L);
  store_pair(pair, to_rope, 2 * lane, R);
#pragma unroll 1
  for (int64_t d = 2 * (kWarp + lane); d < R; d += 2 * kWarp) store_pair(load_pair<kWide>(rope, d, R), to_rope, d, R);
}

template <bool kWide, class X>
__global__ void __launch_bounds__(kMostRowWarps* kWarp, kBlocks) mla_kv_store_v32_kernel(const __grid_constant__ StoreCall call) {
  wait_for_previous_kernel();
  const int64_t warps = blockDim.x / kWarp;
  for (int64_t row = blockIdx.x * warps + threadIdx.x / kWarp; row < call.latent.count; row += gridDim.x * warps)
    store_v32<kWide, X>(call, row, threadIdx.x % kWarp);
}

// --- launches ---

// Whether rows lie at multiples of `bytes`, which is a power of two.
bool rows_on(int64_t bytes, const MlaRows& rows) {
  return rows.length == 0 || ((reinterpret_cast<uintptr_t>(rows.data) | uint64_t(rows.stride)) & uint64_t(bytes - 1)) == 0;
}
bool slots_on(int64_t bytes, const MlaSlots& slots) {
  return ((reinterpret_cast<uintptr_t>(slots.data) | uint64_t(slots.page_stride) | uint64_t(slots.row_stride)) &
          uint64_t(bytes - 1)) == 0;
}

// A copy by the widest word that divides every address and length.
Status copy_rows(Context& ctx, const StoreCall& call, int64_t latent_bytes, int64_t rope_bytes) {
  const auto divides = [&](int64_t bytes) {
    return rows_on(bytes, call.latent) && rows_on(bytes, call.rope) && slots_on(bytes, call.slots) && latent_bytes % bytes == 0 &&
           rope_bytes % bytes == 0;
  };
  const auto by = [&]<class Word>(Word*) {
    constexpr int64_t kBytes = sizeof(Word);
    return launch(ctx, mla_kv_store_kernel<Word, Word>, row_warps(ctx, call.latent.count), call, latent_bytes / kBytes,
                  (latent_bytes + rope_bytes) / kBytes);
  };
  if (divides(16)) return by(static_cast<uint4*>(nullptr));
  if (divides(4)) return by(static_cast<uint32_t*>(nullptr));
  return divides(2) ? by(static_cast<uint16_t*>(nullptr)) : by(static_cast<uint8_t*>(nullptr));
}

template <class X>
Status scale_rows(Context& ctx, const StoreCall& call) {
  const bool wide = rows_on(16, call.latent) && rows_on(16, call.rope) && slots_on(kRun, call.slots) &&
                    call.latent.length % kRun == 0 && call.rope.length % kRun == 0;
  const auto by = [&]<int N, class To>() {
    return launch(ctx, mla_kv_store_kernel<Pack<X, N>, To>, row_warps(ctx, call.latent.count), call, call.latent.length / N,
                  (call.latent.length + call.rope.length) / N);
  };
  return wide ? by.template operator()<kRun, uint2>() : by.template operator()<1, F8E4M3>();
}

template <class X>
Status group_rows(Context& ctx, const StoreCall& call) {
  const LaunchShape shape = row_warps(ctx, call.latent.count);
  const bool wide = rows_on(16, call.latent) && rows_on(2 * sizeof(X), call.rope);
  return wide ? launch(ctx, mla_kv_store_v32_kernel<true, X>, shape, call)
              : launch(ctx, mla_kv_store_v32_kernel<false, X>, shape, call);
}

}  // namespace

Status mla_kv_store_cuda(Context& ctx, const MlaKvStoreArgs& args, std::byte*) {
  const StoreCall call{.latent = MlaRows(args.latent),
                       .rope = MlaRows(args.rope),
                       .loc = IndexView(args.loc),
                       .slots = MlaSlots(args.cache, args.reserved_skip_index, args.rank, args.world),
                       .by = 1 / args.cache.scale};
  const int64_t size = int64_t(dtype_size(args.latent.dtype));
  if (args.cache.format == MlaCacheFormat::kPlain) return copy_rows(ctx, call, call.latent.length * size, call.rope.length * size);
  return visit_mla_value(args.latent, [&]<class X>(X*) {
    return args.cache.format == MlaCacheFormat::kScaledE4M3 ? scale_rows<X>(ctx, call) : group_rows<X>(ctx, call);
  });
}

}  // namespace sluice
