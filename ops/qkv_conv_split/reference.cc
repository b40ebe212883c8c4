#include <algorithm>
#include <cmath>
#include <vector>

#include "core/rows.h"
#include "ops/qkv_conv_split/forms.h"

namespace sluice {
namespace {

double read(const Tensor& t, int64_t at) {
  return t.dtype == DType::kBF16 ? double(float(t.as<Bf16>()[at])) : double(t.as<float>()[at]);
}
void write(const Tensor& t, int64_t at, double x) {
  if (t.dtype == DType::kBF16) t.as<Bf16>()[at] = Bf16(float(x));
  else t.as<float>()[at] = float(x);
}
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// Where the row of a position begins in the ring.
int64_t ring_row(const QkvConvSplitArgs& a, int64_t slot, int64_t position) {
  return slot * a.conv_ring.stride[0] + position % a.conv_ring.shape[1] * a.conv_ring.stride[1];
}

// Channel c of the convolution's input, `back` rows before row `t` of sequence b.
double input(const QkvConvSplitArgs& a, int64_t b, int64_t t, int64_t back, int64_t c) {
  const int64_t begin = a.cu_seqlens.as<int32_t>()[b], position = a.start.as<int32_t>()[b] + (t - begin) - back;
  if (t - back >= begin) return read(a.qkv, (t - back) * a.qkv.stride[0] + c);
  return position < 0 ? 0 : read(a.conv_ring, ring_row(a, a.slots.as<int32_t>()[b], position) + c);
}

// silu of the convolution, channels [first, first + n) of row t.
std::vector<double> convolved(const QkvConvSplitArgs& a, int64_t b, int64_t t, int64_t first, int64_t n) {
  const int64_t W = a.weight.shape[1];
  std::vector<double> y(n);
  for (int64_t c = 0; c < n; ++c) {
    double sum = 0;
    for (int64_t w = 0; w < W; ++w) sum += read(a.weight, (first + c) * W + w) * input(a, b, t, W - 1 - w, first + c);
    y[c] = sum * sigmoid(sum);
  }
  return y;
}

// The heads of one of q, k and v for row t; its channels begin at `first`.
void reference_heads(const QkvConvSplitArgs& a, const Tensor& out, int64_t first, bool normalised, int64_t b, int64_t t) {
  const int64_t n = out.shape[2];
  for (int64_t h = 0; h < out.shape[1]; ++h) {
    std::vector<double> y(n);
    if (a.slots.as<int32_t>()[b] >= 0) y = convolved(a, b, t, first + h * n, n);
    double squares = 0;
    for (double v : y) squares += v * v;
    const double scale = normalised ? 1 / std::sqrt(squares + a.l2_eps) : 1;
    for (int64_t c = 0; c < n; ++c) write(out, t * out.stride[0] + h * out.stride[1] + c, y[c] * scale);
  }
}

void reference_gates(const QkvConvSplitArgs& a, int64_t b, int64_t t) {
  const bool padding = a.slots.as<int32_t>()[b] < 0;
  for (int64_t h = 0; h < a.v.shape[1]; ++h) {
    const double step = read(a.a, t * a.a.stride[0] + h) + read(a.dt_bias, h);
    const double softplus = std::max(step, 0.0) + std::log1p(std::exp(-std::abs(step)));
    const double beta = sigmoid(read(a.b, t * a.b.stride[0] + h)) * (a.allow_neg_eigval ? 2 : 1);
    a.log_g.as<float>()[t * a.log_g.stride[0] + h] = padding ? 0 : float(-std::exp(read(a.A_log, h)) * softplus);
    a.beta.as<float>()[t * a.beta.stride[0] + h] = padding ? 0 : float(beta);
  }
}

}  // namespace

Status qkv_conv_split_reference(Context&, const QkvConvSplitArgs& a, std::byte*) {
  const auto* cu = a.cu_seqlens.as<int32_t>();
  const int64_t keys = a.q.shape[1] * a.q.shape[2], C = a.qkv.shape[1];
  for (int64_t b = 0; b < a.slots.shape[0]; ++b) {
    for (int64_t t = cu[b]; t < cu[b + 1]; ++t) {
      reference_heads(a, a.q, 0, true, b, t);
      reference_heads(a, a.k, keys, true, b, t);
      reference_heads(a, a.v, 2 * keys, false, b, t);
      reference_gates(a, b, t);
    }
    const int64_t slot = a.slots.as<int32_t>()[b];
    for (int64_t t = cu[b]; slot >= 0 && t < cu[b + 1]; ++t)
      for (int64_t c = 0; c < C; ++c)
        write(a.conv_ring, ring_row(a, slot, a.start.as<int32_t>()[b] + t - cu[b]) + c, read(a.qkv, t * a.qkv.stride[0] + c));
  }
  return {};
}

}  // namespace sluice
