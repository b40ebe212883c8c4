// The batch-invariant form on CUDA cores: a block for some columns of a value head of a sequence (cuda.cuh), and then the new rows'
// keys and gates into the pool, which the blocks of a head share and none may change while another reads them.
#include "ops/gdn_prefill/cuda.cuh"

namespace sluice {
namespace gdn::gpu::prefill {
namespace {

template <class S, int VT, int KD>
__global__ void __launch_bounds__(2 * VT, 2) append_kernel(const __grid_constant__ Call c) {
  extern __shared__ __align__(16) float memory[];
  cuda::wait_for_previous_kernel();
  const Pool& pool = c.pool;
  const int slices = pool.V / VT, head = blockIdx.x / slices, b = blockIdx.y;
  Memory<VT> w;
  w.lay_out(memory, pool.K, pool.R);
  const Appender<VT, KD> a{c, w, head, head / (pool.HV / pool.HK), int(blockIdx.x) % slices * VT};
  const Extent x(c, b);
  if (x.padding) {
    for (int64_t i = x.begin * VT + threadIdx.x; i < x.end * VT; i += 2 * VT)
      write_element(c.o, a.value_at(c.o, i / VT, i % VT), 0);
    return;
  }
  S* state = static_cast<S*>(pool.s) + x.slot * pool.s_pitch + int64_t(head) * pool.K * pool.V;
  if (x.begin == x.end && !x.fresh) return;

  Block rows{x.begin, int(x.start % pool.R), 0};
  a.load_state(x.fresh ? nullptr : state);
  a.load_open_rows(x.slot, rows.n);
  int first_new = rows.n;
  bool changed = x.fresh;
  __syncthreads();
  while (rows.t < x.end) {
    rows.count = int(min(int64_t(min(kTokens, pool.R - rows.n)), x.end - rows.t));
    a.append(rows);
    __syncthreads();
    rows.t += rows.count, rows.n += rows.count;
    if (rows.n < pool.R) continue;
    a.template close<S>(w.decay[rows.count - 1]);
    __syncthreads();
    if (float* copy = checkpoint_at(c, b, head, x.start, x.start + rows.t - x.begin)) a.store_state(copy);
    rows.n = first_new = 0, changed = true;
  }
  if (changed) a.store_state(state);
  a.store_open_rows(x.slot, first_new, rows.n);
}

constexpr int kKeepThreads = 128;

// Keys and G of the rows that the call leaves open, of one key head and its value heads.
// 8 blocks of a multiprocessor at once: without a number the compiler spills to get along with 32 registers.
__global__ void __launch_bounds__(kKeepThreads, 8) keep_rows_kernel(const __grid_constant__ Call c) {
  cuda::wait_for_previous_kernel();
  const Pool& pool = c.pool;
  const int key_head = blockIdx.x, group = pool.HV / pool.HK;
  const Extent x(c, blockIdx.y);
  if (x.padding) return;
  const int64_t position = x.start + x.end - x.begin, first = max(x.start, position / pool.R * pool.R);
  const int begin = int(first % pool.R), count = int(position - first);
  const int64_t t = x.begin + first - x.start;
  for (int row = threadIdx.x / kWarp; row < count; row += kKeepThreads / kWarp) {
    WarpRow k;
    k.load(c, c.k, t + row, key_head);
    k.normalise(c);
    k.store(pool.k + x.slot * pool.k_pitch + (int64_t(key_head) * pool.R + begin + row) * pool.K, pool.K);
  }
  for (int head = key_head * group + threadIdx.x; count > 0 && head < (key_head + 1) * group; head += kKeepThreads) {
    float* g = pool.g + x.slot * pool.g_pitch + head * pool.R + begin;
    float sum = begin > 0 ? g[-1] : 0;
    for (int row = 0; row < count; ++row) g[row] = sum += c.log_g[(t + row) * c.log_g_stride + head];
  }
}

template <class S, int VT, int KD = 0>
Status launch_append(Context& ctx, const Call& c, unsigned B) {
  const size_t shared = Memory<VT>().lay_out(nullptr, c.pool.K, c.pool.R);
  return cuda::launch(ctx, append_kernel<S, VT, KD>,
                      {.grid = {unsigned(c.pool.HV * c.pool.V / VT), B}, .block = 2 * VT, .shared = shared, .dependent = true}, c);
}

template <class S>
Status launch_append(Context& ctx, const Call& c, unsigned B, int columns) {
  if (columns == 64 && c.pool.K == 128) return launch_append<S, 64, 128>(ctx, c, B);
  if (columns == 64) return launch_append<S, 64>(ctx, c, B);
  return columns == 32 ? launch_append<S, 32>(ctx, c, B) : launch_append<S, 16>(ctx, c, B);
}

}  // namespace

Call make_call(const GdnPrefillArgs& a) {
  Call c{.pool = make_pool(a.state, a.k.dim(1))};
  c.sequences = {.cu_seqlens = a.cu_seqlens.as<int32_t>(), .start = a.start.as<int32_t>(), .slots = a.slots.as<int32_t>()};
  if (a.has_state.present()) c.sequences.has_state = a.has_state.as<int32_t>();
  c.q = make_call_rows(a.q), c.k = make_call_rows(a.k), c.v = make_call_rows(a.v), c.o = make_call_rows(a.o);
  c.log_g = a.log_g.as<float>(), c.log_g_stride = a.log_g.stride[0];
  c.beta = a.beta.as<float>(), c.beta_stride = a.beta.stride[0];
  c.scale = a.scale, c.l2_eps = a.l2_eps, c.qk_l2norm = a.qk_l2norm;
  if (a.checkpoint_every > 0) {
    c.checkpoints = a.checkpoints.as<float>(), c.checkpoint_pitch = a.checkpoints.stride[0];
    c.checkpoint_cu = a.checkpoint_cu.as<int32_t>(), c.checkpoint_every = a.checkpoint_every;
  }
  return c;
}

Status keep_rows(Context& ctx, const Call& c, unsigned B) {
  return cuda::launch(ctx, keep_rows_kernel, {.grid = {unsigned(c.pool.HK), B}, .block = kKeepThreads, .dependent = true}, c);
}

}  // namespace gdn::gpu::prefill

// The more columns a block has, the better: the products of keys are made anew in each.
Tiles gdn_prefill_cuda_tiles(const GdnPrefillArgs& a) {
  Tiles tiles("columns of V");
  const auto add = [&]<int VT>(gdn::gpu::prefill::Memory<VT> w) {
    if (a.v.dim(2) % VT == 0) tiles.add(VT, w.lay_out(nullptr, int(a.k.dim(2)), int(a.state.g.dim(2))));
  };
  add(gdn::gpu::prefill::Memory<64>()), add(gdn::gpu::prefill::Memory<32>()), add(gdn::gpu::prefill::Memory<16>());
  return tiles;
}

Status gdn_prefill_cuda(Context& ctx, const GdnPrefillArgs& a, std::byte*) {
  using namespace gdn::gpu::prefill;
  SLUICE_ASSIGN_OR_RETURN(const int columns, choose_tile(ctx, "gdn_prefill:portable", gdn_prefill_cuda_tiles(a)));
  const Call c = make_call(a);
  const unsigned B = unsigned(a.slots.dim(0));
  SLUICE_RETURN_IF_ERROR(a.state.s.dtype == DType::kBF16 ? launch_append<Bf16>(ctx, c, B, columns)
                                                         : launch_append<float>(ctx, c, B, columns));
  return keep_rows(ctx, c, B);
}

}  // namespace sluice
