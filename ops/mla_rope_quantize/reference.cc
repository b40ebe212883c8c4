#include <limits>

#include "ops/mla_rope_quantize/forms.h"
#include "ops/mla_rope_quantize/parts.h"

namespace sluice {
namespace {

template <class X, class F8>
void quantize_row(const MlaRopeCall& call, int64_t t, int64_t head) {
  const MlaRowOut out = call.out(t, head);
  if (out.nowhere) return;
  const X *nope = call.nope_in<X>(t, head), *rope = call.rope_in<X>(t, head);
  const double scale = call.scale(head);
  for (int64_t i = 0; i < call.nope; ++i) out.nope[i] = std::byte{F8(float(float(nope[i]) * scale)).bits};
  const float* table = call.cosines(call.positions[t]);
  const int64_t pairs = call.rope / 2;
  for (int64_t i = 0; i < pairs; ++i) {
    const double nan = std::numeric_limits<double>::quiet_NaN(), c = table ? table[i] : nan, s = table ? table[pairs + i] : nan;
    const int64_t one = call.interleaved ? 2 * i : i, two = call.interleaved ? 2 * i + 1 : i + pairs;
    const double x1 = float(rope[one]), x2 = float(rope[two]);
    out.rope[one] = std::byte{F8(float((x1 * c - x2 * s) * scale)).bits};
    out.rope[two] = std::byte{F8(float((x2 * c + x1 * s) * scale)).bits};
  }
}

}  // namespace

Status mla_rope_quantize_reference(Context&, const MlaRopeQuantizeArgs& args, std::byte*) {
  const MlaRopeCall call(args);
  visit_mla_value(args.q_rope.present() ? args.q_rope : args.k_rope, [&]<class X>(X*) {
    visit_mla_fp8(args, [&]<class F8>(F8*) {
      for (int64_t t = 0; t < call.tokens; ++t)
        for (int64_t head = 0; head < call.rows; ++head) quantize_row<X, F8>(call, t, head);
    });
  });
  return {};
}

}  // namespace sluice
