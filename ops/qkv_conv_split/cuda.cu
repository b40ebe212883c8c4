// One launch: blocks of a few rows of one head (128 channels), and blocks of gates. A thread has a run of channels in a range of
// rows; the threads of a head normalise it in registers. The rows before the call come from the ring, which a sequence's first
// thread overwrites when it has read them (ops/causal_conv1d/window.cuh).
#include "core/cuda/launch.h"
#include "ops/causal_conv1d/window.cuh"
#include "ops/gating/gates.cuh"
#include "ops/qkv_conv_split/forms.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = 128;

// q, k or v.
struct HeadsView {
  void* data;
  int64_t row_stride, head_stride;
  int dim;

  explicit HeadsView(const Tensor& t) : data(t.data), row_stride(t.stride[0]), head_stride(t.stride[1]), dim(int(t.shape[2])) {}
  // Channel c of all heads' channels.
  template <class Y>
  __device__ Y* at(int64_t t, int c) const {
    return static_cast<Y*>(data) + t * row_stride + c / dim * head_stride + c % dim;
  }
};

// conv_ring.
struct RingView {
  void* data;
  int64_t slot_stride, row_stride, rows;
  bool bf16;

  explicit RingView(const Tensor& t)
      : data(t.data), slot_stride(t.stride[0]), row_stride(t.stride[1]), rows(t.shape[1]), bf16(t.dtype == DType::kBF16) {}
  template <class R>
  __device__ R* at(int64_t slot, int64_t position, int64_t c) const {
    return static_cast<R*>(data) + slot * slot_stride + (position & (rows - 1)) * row_stride + c;
  }
};

struct SplitView {
  SequencesView sequences;
  int64_t rows;
  const void *qkv, *weight;
  int64_t qkv_stride;
  RingView ring;
  HeadsView q, k, v;
  FloatsView a, b, A_log, dt_bias;
  float *log_g, *beta;
  int64_t log_g_stride, beta_stride;
  int key_heads, value_heads;
  float l2_eps, top_beta;
  int width;
  bool weight_bf16;

  explicit SplitView(const QkvConvSplitArgs& s)
      : sequences(s.cu_seqlens, s.slots, s.start, s.conv_ring.shape[0]),
        rows(s.qkv.shape[0]),
        qkv(s.qkv.data),
        weight(s.weight.data),
        qkv_stride(s.qkv.stride[0]),
        ring(s.conv_ring),
        q(s.q),
        k(s.k),
        v(s.v),
        a(s.a),
        b(s.b),
        A_log(s.A_log),
        dt_bias(s.dt_bias),
        log_g(s.log_g.as<float>()),
        beta(s.beta.as<float>()),
        log_g_stride(s.log_g.stride[0]),
        beta_stride(s.beta.stride[0]),
        key_heads(int(s.q.shape[1])),
        value_heads(int(s.v.shape[1])),
        l2_eps(s.l2_eps),
        top_beta(s.allow_neg_eigval ? 2 : 1),
        width(int(s.weight.shape[1])),
        weight_bf16(s.weight.dtype == DType::kBF16) {}
};

// Whether all accesses to runs may be of 16 bytes. No run lies in two heads then.
bool all_wide(const QkvConvSplitArgs& s) {
  return s.weight.shape[1] == kMaxWidth && reinterpret_cast<uintptr_t>(s.weight.data) % 16 == 0 && s.q.shape[2] % kRun == 0 &&
         s.v.shape[2] % kRun == 0 && wide_runs(s.qkv) && wide_runs(s.conv_ring) && wide_runs(s.q) && wide_runs(s.k) &&
         wide_runs(s.v);
}

// What the blocks of a tile of rows do, by their index.
template <int Lanes>
struct Parts {
  static constexpr int kChannels = Lanes * kRun;  // of a block: a key head's or fewer of them, or any of the value heads'
  int gates, keys, values;                        // blocks of a tile

  __host__ __device__ Parts(int key_heads, int value_heads, int value_dim)
      : gates((value_heads + Lanes - 1) / Lanes),
        keys(2 * key_heads),
        values((value_heads * value_dim + kChannels - 1) / kChannels) {}
  __host__ __device__ unsigned count() const { return gates + keys + values; }
};

// The channels of one thread.
struct Channels {
  const HeadsView* out;
  int in_out, in_qkv;  // its first channel, counted in `out` and in qkv
  int n;               // channels
  bool normalised;

  template <int Lanes>
  __device__ Channels(const SplitView& v, const Parts<Lanes>& parts, int part) {
    const int lane = int(threadIdx.x) % Lanes * kRun, keys = v.key_heads * v.q.dim, values = v.value_heads * v.v.dim;
    normalised = part < parts.keys;
    int left;  // channels from the thread's first to the end of its head, or of all value heads
    if (normalised) {
      out = part < v.key_heads ? &v.q : &v.k;
      in_out = (part < v.key_heads ? part : part - v.key_heads) * v.q.dim + lane, in_qkv = part * v.q.dim + lane,
      left = v.q.dim - lane;
    } else {
      out = &v.v;
      in_out = (part - parts.keys) * parts.kChannels + lane, in_qkv = 2 * keys + in_out, left = values - in_out;
    }
    n = min(max(left, 0), kRun);
  }
};

template <class X, class Y, int Lanes, int kRows, bool Wide>
class SplitRun {
 public:
  __device__ SplitRun(const SplitView& v, const Channels& c) : v_(v), c_(c) {}
  __device__ void load_taps() {
    if (v_.weight_bf16) taps_.template load<Wide>(static_cast<const Bf16*>(v_.weight), c_.in_qkv, c_.n, v_.width);
    else taps_.template load<Wide>(static_cast<const float*>(v_.weight), c_.in_qkv, c_.n, v_.width);
  }
  __device__ int width() const { return Wide ? kMaxWidth : v_.width; }
  __device__ bool is_plain() const { return Wide && v_.ring.bf16 == (sizeof(X) == 2); }

  struct Rows {
    Run<X> row[kRows + kMaxWidth - 1];
  };
  __device__ void load(Rows& in, int64_t begin) const {
    // A thread without channels reads its block's first ones: its taps are zeros.
    load_window(in.row, x(begin) - (c_.n > 0 ? 0 : threadIdx.x % Lanes * kRun), v_.qkv_stride, begin);
  }
  __device__ void open(Rows& in, const Sequence& s) const { load_kept(in.row, s, c_.n); }
  __device__ void singles(const Sequence (&s)[kRows], int64_t begin) const {
    Run<X> in[kRows][kMaxWidth];
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int n = s[i].slot < 0 ? 0 : c_.n;
      load_kept(in[i], s[i], n);
      in[i][kMaxWidth - 1] = load_run(x(begin + i), n, true);
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      float y[kRun] = {};
      convolve(y, taps_, in[i]);
      silu(y);
      if (c_.normalised) normalise(y);
      if (c_.n == 0) continue;
      store_wide(c_.out->template at<Y>(begin + i, c_.in_out), y);
      if (s[i].slot >= 0) store_wide(v_.ring.at<X>(s[i].slot, s[i].number, c_.in_qkv), in[i][kMaxWidth - 1]);
    }
  }
  __device__ void plain(const Rows& in, int64_t begin) const {
    if (c_.normalised) plain_rows<true>(in, begin);
    else plain_rows<false>(in, begin);
  }
  __device__ void row(int64_t t, const Sequence& s, bool mine) const {
    float in[kMaxWidth][kRun] = {}, y[kRun] = {};
    if (mine && s.slot >= 0) inputs(in, s, t - s.first);
    convolve(y, taps_, in);
    silu(y);
    if (c_.normalised) normalise(y);
    if (mine) store(t, y);
  }
  // The last rows of the sequence, to the places of their positions.
  __device__ void close(const Sequence& s) const {
    if (!v_.ring.bf16) return keep<float>(s);
    if constexpr (sizeof(X) == 2) keep<Bf16>(s);
  }

 private:
  // The rows before sequence s, oldest first; zeros before the first of all.
  __device__ void load_kept(Run<X>* in, const Sequence& s, int n) const {
#pragma unroll
    for (int w = 0; w < kMaxWidth - 1; ++w) {
      const int position = s.number - (kMaxWidth - 1 - w);
      in[w] = load_run(position < 0 ? nullptr : v_.ring.at<X>(s.slot, position, c_.in_qkv), n, true);
    }
  }
  __device__ const X* x(int64_t t) const { return static_cast<const X*>(v_.qkv) + t * v_.qkv_stride + c_.in_qkv; }

  __device__ void inputs(float (&in)[kMaxWidth][kRun], const Sequence& s, int64_t row) const {
    if (v_.ring.bf16) inputs<Bf16>(in, s, row);
    else inputs<float>(in, s, row);
  }
  template <class R>
  __device__ void inputs(float (&in)[kMaxWidth][kRun], const Sequence& s, int64_t row) const {
    const X* rows[kMaxWidth] = {};
    const R* kept[kMaxWidth] = {};
    const int64_t position = s.number + row;
#pragma unroll
    for (int w = 0; w < kMaxWidth; ++w) {
      const int back = kMaxWidth - 1 - w;
      if (back >= width()) continue;
      if (row >= back) rows[w] = x(s.first + row - back);
      else if (position >= back) kept[w] = v_.ring.at<R>(s.slot, position - back, c_.in_qkv);
    }
    load_inputs<Wide>(in, rows, kept, 1, c_.n);
  }

  template <bool Normalised>
  __device__ void plain_rows(const Rows& in, int64_t begin) const {
    Y* to = c_.out->template at<Y>(begin, c_.in_out);
#pragma unroll
    for (int i = 0; i < kRows; ++i, to += c_.out->row_stride) {
      float y[kRun] = {};
      convolve(y, taps_, in.row + i);
      silu(y);
      if constexpr (Normalised) normalise(y);
      if (c_.n > 0) store_wide(to, y);
    }
  }

  // Every thread of the warp takes part.
  __device__ void normalise(float (&y)[kRun]) const {
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kRun; ++i) squares = fmaf(y[i], y[i], squares);
    const float scale = rsqrtf(group_sum<Lanes>(squares) + v_.l2_eps);
#pragma unroll
    for (int i = 0; i < kRun; ++i) y[i] *= scale;
  }

  __device__ void store(int64_t t, const float (&y)[kRun]) const {
    if constexpr (Wide) {
      if (c_.n > 0) store_wide(c_.out->template at<Y>(t, c_.in_out), y);
    } else {
#pragma unroll
      for (int i = 0; i < kRun; ++i)
        if (i < c_.n) *c_.out->template at<Y>(t, c_.in_out + i) = from_float<Y>(y[i]);
    }
  }

  template <class R>
  __device__ void keep(const Sequence& s) const {
    constexpr int kBatch = (kRows > 1 ? 32 : 16) / Run<X>::kWords;  // rows in flight, in registers beside the taps
    const int64_t start = s.number, rows = s.end - s.first;
    for (int64_t r = max(rows - v_.ring.rows, int64_t(0)); r < rows; r += kBatch) {
      Run<X> run[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) run[i] = load_run(r + i < rows ? x(s.first + r + i) : nullptr, c_.n, Wide);
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        float x[kRun];
#pragma unroll
        for (int j = 0; j < kRun; ++j) x[j] = run[i][j];
        if (r + i < rows) store_run(v_.ring.at<R>(s.slot, start + r + i, c_.in_qkv), x, c_.n, Wide);
      }
    }
  }

  const SplitView& v_;
  const Channels& c_;
  Taps taps_;
};

// One head's gates in rows [begin, begin + Rows); every thread of the warp takes part.
template <int Lanes, int Rows>
__device__ inline void gate_rows(const SplitView& v, int64_t begin, int h) {
  const bool head = h < v.value_heads;
  const float rate = head ? -expf(v.A_log.at(0, h)) : 0, dt_bias = head ? v.dt_bias.at(0, h) : 0;
  cuda::wait_for_previous_kernel();
  Sequence s = v.sequences.of<Lanes>(begin);
  uint32_t inside = 0, live = 0;  // bits of rows: in a sequence, and not padding
#pragma unroll 1
  for (int i = 0; i < Rows; ++i) {
    const int64_t t = begin + i;
    if (i > 0 && __any_sync(0xffffffffu, t >= s.end)) s = v.sequences.of<Lanes>(t);
    const bool in = head && t >= s.first && t < s.end;
    inside |= uint32_t(in) << i, live |= uint32_t(in && s.slot >= 0) << i;
  }
  // Not an array of floats: the compiler would lay runs, which are such arrays, in its place, and thereby out of registers. Nor
  // does a variable index what is here: that would put it into local memory.
  struct Inputs {
    float a, b;
  } in[Rows];
#pragma unroll
  for (int i = 0; i < Rows; ++i) in[i] = live >> i & 1 ? Inputs{v.a.at(begin + i, h), v.b.at(begin + i, h)} : Inputs{};
#pragma unroll 1  // the code of a logarithm and two exponentials, once
  for (int i = 0; i < Rows; ++i) {
    const Gates g = live >> i & 1 ? gates_of(in[0].a, in[0].b, rate, dt_bias, v.top_beta) : Gates{};
    if (inside >> i & 1) v.log_g[(begin + i) * v.log_g_stride + h] = g.log_g, v.beta[(begin + i) * v.beta_stride + h] = g.beta;
#pragma unroll
    for (int next = 1; next < Rows; ++next) in[next - 1] = in[next];
  }
}

template <class X, class Y, int Lanes, int Rows, bool Wide>
__global__ void __launch_bounds__(kThreads, kConvBlocks<X, Rows>) qkv_conv_split_kernel(const __grid_constant__ SplitView v) {
  const Parts<Lanes> parts(v.key_heads, v.value_heads, v.v.dim);
  const int part = int(blockIdx.x % parts.count());
  const int64_t begin = (int64_t(blockIdx.x / parts.count()) * (kThreads / Lanes) + threadIdx.x / Lanes) * Rows;
  if (part < parts.gates) return gate_rows<Lanes, Rows>(v, begin, part * Lanes + int(threadIdx.x) % Lanes);
  const Channels channels(v, parts, part - parts.gates);
  SplitRun<X, Y, Lanes, Rows, Wide> run(v, channels);
  if (Rows < kManyRows) run.load_taps();
  cuda::wait_for_previous_kernel();
  if (Rows != kSingles || !walk_singles<Rows>(v.sequences, begin, v.rows, run))
    walk_rows<Lanes, Rows>(v.sequences, begin, v.rows, run);
}

template <class X, class Y, int Lanes, int Rows, bool Wide>
Status launch_rows(Context& ctx, const QkvConvSplitArgs& s) {
  constexpr int64_t kRows = kThreads / Lanes * Rows;  // of a block
  const int64_t tiles = s.slots.shape[0] > 0 ? (s.qkv.shape[0] + kRows - 1) / kRows : 0;
  const Parts<Lanes> parts(int(s.q.shape[1]), int(s.v.shape[1]), int(s.v.shape[2]));
  const LaunchShape shape{.grid = unsigned(tiles * parts.count()), .block = kThreads, .dependent = true};
  return launch(ctx, qkv_conv_split_kernel<X, Y, Lanes, Rows, Wide>, shape, SplitView(s));
}

template <class X, class Y, int Lanes>
Status launch_lanes(Context& ctx, const QkvConvSplitArgs& s) {
  if (!all_wide(s)) return launch_rows<X, Y, Lanes, 1, false>(ctx, s);
  return with_rows_a_thread(s.qkv.shape[0], s.slots.shape[0],
                            [&]<int Rows>() { return launch_rows<X, Y, Lanes, Rows, true>(ctx, s); });
}

template <class X, class Y>
Status launch_types(Context& ctx, const QkvConvSplitArgs& s) {
  return s.q.shape[2] <= 16 * kRun ? launch_lanes<X, Y, 16>(ctx, s) : launch_lanes<X, Y, 32>(ctx, s);
}

}  // namespace

Status qkv_conv_split_cuda(Context& ctx, const QkvConvSplitArgs& s, std::byte*) {
  return visit_float(s.qkv, [&]<class X>(X*) { return visit_float(s.q, [&]<class Y>(Y*) { return launch_types<X, Y>(ctx, s); }); });
}

}  // namespace sluice
