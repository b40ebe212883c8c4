// A thread has a run of channels in a range of rows: its taps stay in registers, its inputs roll through them.
#include <algorithm>

#include "core/cuda/launch.h"
#include "ops/causal_conv1d/forms.h"
#include "ops/causal_conv1d/window.cuh"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = 128, kLanes = 16, kGroups = kThreads / kLanes;  // a block's rows are kGroups ranges of 128 channels

// conv_state or step_states.
struct StateView {
  void* data = nullptr;
  int64_t row_stride = 0, channel_stride = 0, step_stride = 0;
  bool bf16 = false, wide = true;

  explicit StateView(const Tensor& t) {
    if (!t.present()) return;
    data = t.data, row_stride = t.stride[0], channel_stride = t.stride[1], step_stride = t.stride[2];
    bf16 = t.dtype == DType::kBF16;
    Tensor steps = t;  // [N, W-1, C]
    std::swap(steps.shape[1], steps.shape[2]), std::swap(steps.stride[1], steps.stride[2]);
    wide = steps.inner_contiguous() && t.shape[1] % kRun == 0 && wide_runs(steps);
  }
  template <class S>
  __device__ S* at(int64_t row, int64_t channel, int step) const {
    return static_cast<S*>(data) + row * row_stride + channel * channel_stride + step * step_stride;
  }
  template <bool Wide>
  __device__ void store(int64_t row, int64_t c, int step, const float (&x)[kRun], int n) const {
    if (bf16) store_run(at<Bf16>(row, c, step), x, n, Wide, channel_stride);
    else store_run(at<float>(row, c, step), x, n, Wide, channel_stride);
  }
};

struct ConvView {
  SequencesView sequences;
  const void *x, *weight, *bias;
  void* y;
  int64_t x_stride, y_stride, rows, channels;
  StateView state, steps;
  int width;
  bool weight_bf16, bias_bf16, update_state, silu;

  explicit ConvView(const CausalConv1dArgs& a)
      : sequences(a.cu_seqlens, a.slots, a.has_state, a.conv_state.shape[0]),
        x(a.x.data),
        weight(a.weight.data),
        bias(a.bias.data),
        y(a.y.data),
        x_stride(a.x.stride[0]),
        y_stride(a.y.stride[0]),
        rows(a.x.shape[0]),
        channels(a.x.shape[1]),
        state(a.conv_state),
        steps(a.step_states),
        width(int(a.weight.shape[1])),
        weight_bf16(a.weight.dtype == DType::kBF16),
        bias_bf16(a.bias.dtype == DType::kBF16),
        update_state(a.update_state),
        silu(a.silu) {}

  // Whether all accesses to runs may be of 16 bytes.
  bool all_wide(const CausalConv1dArgs& a) const {
    return width == kMaxWidth && reinterpret_cast<uintptr_t>(weight) % 16 == 0 && channels % kRun == 0 && wide_runs(a.x) &&
           wide_runs(a.y) && state.wide && steps.wide;
  }
};

template <class X, class Y, int kRows, bool Wide>
class ConvRun {
 public:
  // Channels [c, c + n).
  __device__ ConvRun(const ConvView& v, int64_t c, int n) : v_(v), c_(c), n_(n) {}
  __device__ void load_taps() {
    if (v_.weight_bf16) taps_.template load<Wide>(static_cast<const Bf16*>(v_.weight), c_, n_, v_.width);
    else taps_.template load<Wide>(static_cast<const float*>(v_.weight), c_, n_, v_.width);
#pragma unroll
    for (int i = 0; i < kRun; ++i) {
      const bool has = v_.bias && i < n_;
      bias_[i] = !has           ? 0
                 : v_.bias_bf16 ? to_float(static_cast<const Bf16*>(v_.bias)[c_ + i])
                                : static_cast<const float*>(v_.bias)[c_ + i];
    }
  }
  __device__ int width() const { return Wide ? kMaxWidth : v_.width; }
  __device__ bool is_plain() const { return Wide && !v_.steps.data && v_.state.bf16 == (sizeof(X) == 2); }

  struct Rows {
    Run<X> row[kRows + kMaxWidth - 1];
  };
  __device__ void load(Rows& in, int64_t begin) const {
    // A thread without channels reads its strip's first ones.
    load_window(in.row, x(begin) - (n_ > 0 ? 0 : threadIdx.x % kLanes * kRun), v_.x_stride, begin);
  }
  __device__ void open(Rows& in, const Sequence& s) const { load_kept(in.row, s, n_); }
  __device__ void singles(const Sequence (&s)[kRows], int64_t begin) const {
    Run<X> in[kRows][kMaxWidth];
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int n = s[i].slot < 0 ? 0 : n_;
      load_kept(in[i], s[i], n);
      in[i][kMaxWidth - 1] = load_run(x(begin + i), n, true);
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      finish(begin + i, in[i], s[i].slot >= 0);
      if (!v_.update_state || s[i].slot < 0 || n_ == 0) continue;
#pragma unroll
      for (int w = 1; w < kMaxWidth; ++w) store_wide(v_.state.at<X>(s[i].slot, c_, w - 1), in[i][w]);
    }
  }
  __device__ void plain(const Rows& in, int64_t begin) const {
#pragma unroll
    for (int i = 0; i < kRows; ++i) finish(begin + i, in.row + i, true);
  }
  __device__ void row(int64_t t, const Sequence& s, bool mine) const {
    if (!mine) return;
    float in[kMaxWidth][kRun] = {};
    if (s.slot >= 0) inputs(in, s, t - s.first);
    finish(t, in, s.slot >= 0);
#pragma unroll
    for (int w = 1; w < kMaxWidth; ++w)
      if (const int step = w - 1 - (kMaxWidth - width()); v_.steps.data && step >= 0)
        v_.steps.template store<Wide>(t, c_, step, in[w], n_);
  }
  __device__ void close(const Sequence& s) const {
    if (!v_.update_state) return;
    float in[kMaxWidth][kRun];
    inputs(in, s, s.end - s.first);
#pragma unroll
    for (int w = 0; w < kMaxWidth - 1; ++w)
      if (const int step = w - (kMaxWidth - width()); step >= 0) v_.state.template store<Wide>(s.slot, c_, step, in[w], n_);
  }
  // New sequences without rows get a zero state; range `group` of `groups` looks after its share.
  __device__ void open_empty(int64_t group, int64_t groups) const {
    if (!v_.sequences.numbers) return;
    for (int64_t b = group; b < v_.sequences.count; b += groups)
      if (const Sequence s = v_.sequences.at(int(b)); s.first == s.end && s.slot >= 0 && s.number == 0) close(s);
  }

 private:
  // The rows before sequence s, oldest first; zeros before a new one.
  __device__ void load_kept(Run<X>* in, const Sequence& s, int n) const {
    const bool continues = !v_.sequences.numbers || s.number != 0;  // has_state
#pragma unroll
    for (int w = 0; w < kMaxWidth - 1; ++w) in[w] = load_run(continues ? v_.state.at<X>(s.slot, c_, w) : nullptr, n, true);
  }
  __device__ const X* x(int64_t t) const { return static_cast<const X*>(v_.x) + t * v_.x_stride + c_; }

  // The inputs up to row `row` of sequence s; a row behind its last one is left out.
  __device__ void inputs(float (&in)[kMaxWidth][kRun], const Sequence& s, int64_t row) const {
    if (v_.state.bf16) inputs<Bf16>(in, s, row);
    else inputs<float>(in, s, row);
  }
  template <class S>
  __device__ void inputs(float (&in)[kMaxWidth][kRun], const Sequence& s, int64_t row) const {
    const X* rows[kMaxWidth] = {};
    const S* kept[kMaxWidth] = {};
    const bool continues = !v_.sequences.numbers || s.number != 0;  // has_state
#pragma unroll
    for (int w = 0; w < kMaxWidth; ++w) {
      const int back = kMaxWidth - 1 - w;
      const int64_t r = row - back;
      if (back >= width()) continue;
      if (r >= 0) rows[w] = r < s.end - s.first ? x(s.first + r) : nullptr;
      else if (continues) kept[w] = v_.state.at<S>(s.slot, c_, int(r) + width() - 1);
    }
    load_inputs<Wide>(in, rows, kept, v_.state.channel_stride, n_);
  }

  template <class Input>
  __device__ void finish(int64_t t, const Input* in, bool bias) const {
    float y[kRun];
#pragma unroll
    for (int i = 0; i < kRun; ++i) y[i] = bias ? bias_[i] : 0;
    convolve(y, taps_, in);
    if (v_.silu) silu(y);
    store_run(static_cast<Y*>(v_.y) + t * v_.y_stride + c_, y, n_, Wide);
  }

  const ConvView& v_;
  const int64_t c_;
  const int n_;
  Taps taps_;
  float bias_[kRun];
};

template <class X, class Y, int Rows, bool Wide>
__global__ void __launch_bounds__(kThreads, kConvBlocks<X, Rows>)
    causal_conv1d_kernel(const __grid_constant__ ConvView v, unsigned strips) {
  const int64_t c = (int64_t(blockIdx.x % strips) * kLanes + threadIdx.x % kLanes) * kRun;
  ConvRun<X, Y, Rows, Wide> run(v, c, int(min(max(v.channels - c, int64_t(0)), int64_t(kRun))));
  if (Rows < kManyRows) run.load_taps();
  cuda::wait_for_previous_kernel();
  const int64_t group = int64_t(blockIdx.x / strips) * kGroups + threadIdx.x / kLanes;
  if (Rows != kSingles || !walk_singles<Rows>(v.sequences, group * Rows, v.rows, run))
    walk_rows<kLanes, Rows>(v.sequences, group * Rows, v.rows, run);
  run.open_empty(group, int64_t(gridDim.x / strips) * kGroups);
}

template <class X, class Y, int Rows, bool Wide>
Status launch_rows(Context& ctx, const ConvView& v) {
  const int64_t strips = (v.channels + kLanes * kRun - 1) / (kLanes * kRun);
  const int64_t tiles = v.sequences.count > 0 ? std::max<int64_t>(1, (v.rows + kGroups * Rows - 1) / (kGroups * Rows)) : 0;
  const LaunchShape shape{.grid = unsigned(tiles * strips), .block = kThreads, .dependent = true};
  return launch(ctx, causal_conv1d_kernel<X, Y, Rows, Wide>, shape, v, unsigned(strips));
}

template <class X, class Y>
Status launch_types(Context& ctx, const CausalConv1dArgs& a) {
  const ConvView v(a);
  if (!v.all_wide(a)) return launch_rows<X, Y, 1, false>(ctx, v);
  return with_rows_a_thread(v.rows, v.sequences.count, [&]<int Rows>() { return launch_rows<X, Y, Rows, true>(ctx, v); });
}

}  // namespace

Status causal_conv1d_cuda(Context& ctx, const CausalConv1dArgs& a, std::byte*) {
  return visit_float(a.x, [&]<class X>(X*) { return visit_float(a.y, [&]<class Y>(Y*) { return launch_types<X, Y>(ctx, a); }); });
}

}  // namespace sluice
