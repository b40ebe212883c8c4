#include <cmath>
#include <vector>

#include "core/rows.h"
#include "ops/causal_conv1d/forms.h"

namespace sluice {
namespace {

float read(const Tensor& t, int64_t at) { return t.dtype == DType::kBF16 ? float(t.as<Bf16>()[at]) : t.as<float>()[at]; }
void write(const Tensor& t, int64_t at, float value) {
  if (t.dtype == DType::kBF16) t.as<Bf16>()[at] = Bf16(value);
  else t.as<float>()[at] = value;
}
int64_t state_at(const Tensor& t, int64_t row, int64_t c, int64_t w) {
  return row * t.stride[0] + c * t.stride[1] + w * t.stride[2];
}

// One channel of one sequence, whose rows are [begin, end).
void reference_channel(const CausalConv1dArgs& a, int64_t begin, int64_t end, int64_t slot, bool continues, int64_t c) {
  const int64_t W = a.weight.shape[1], T = end - begin;
  std::vector<float> inputs(W - 1);  // those before the call, then the call's
  for (int64_t w = 0; continues && w < W - 1; ++w) inputs[w] = read(a.conv_state, state_at(a.conv_state, slot, c, w));
  for (int64_t t = 0; t < T; ++t) inputs.push_back(read(a.x, (begin + t) * a.x.stride[0] + c));

  for (int64_t t = 0; t < T; ++t) {
    double sum = a.bias.present() ? read(a.bias, c) : 0;
    for (int64_t w = 0; w < W; ++w) sum += double(read(a.weight, c * W + w)) * inputs[t + w];
    write(a.y, (begin + t) * a.y.stride[0] + c, float(a.silu ? sum / (1 + std::exp(-sum)) : sum));
    for (int64_t w = 0; a.step_states.present() && w < W - 1; ++w)
      write(a.step_states, state_at(a.step_states, begin + t, c, w), inputs[t + 1 + w]);
  }
  for (int64_t w = 0; a.update_state && w < W - 1; ++w) write(a.conv_state, state_at(a.conv_state, slot, c, w), inputs[T + w]);
}

void zero_channel(const CausalConv1dArgs& a, int64_t begin, int64_t end, int64_t c) {
  for (int64_t t = begin; t < end; ++t) {
    write(a.y, t * a.y.stride[0] + c, 0);
    for (int64_t w = 0; a.step_states.present() && w < a.weight.shape[1] - 1; ++w)
      write(a.step_states, state_at(a.step_states, t, c, w), 0);
  }
}

}  // namespace

Status causal_conv1d_reference(Context&, const CausalConv1dArgs& a, std::byte*) {
  const auto* cu = a.cu_seqlens.as<int32_t>();
  for (int64_t b = 0; b < a.slots.shape[0]; ++b) {
    const int32_t slot = a.slots.as<int32_t>()[b];
    const bool continues = !a.has_state.present() || a.has_state.as<int32_t>()[b] != 0;
    for (int64_t c = 0; c < a.x.shape[1]; ++c) {
      if (slot < 0) zero_channel(a, cu[b], cu[b + 1], c);
      else reference_channel(a, cu[b], cu[b + 1], slot, continues, c);
    }
  }
  return {};
}

}  // namespace sluice
