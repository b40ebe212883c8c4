#include "ops/group_quant/reference.h"

#include <cmath>
#include <vector>

#include "ops/group_quant/forms.h"

namespace sluice {
namespace {

double scale_of(const std::vector<double>& group, const QuantisedGroups& out) {
  double most = out.eps;
  for (const double v : group) most = std::isnan(v) || std::abs(v) > most ? std::abs(v) : most;  // what is NaN stays
  const float scale = float(most / (out.q.dtype == DType::kI8 ? 127 : 448));
  if (!out.ue8m0 || !std::isfinite(scale)) return scale;
  int exponent = 0;
  const double fraction = std::frexp(scale, &exponent);  // from 0.5 to below 1
  return std::ldexp(1.0, fraction == 0.5 ? exponent - 1 : exponent);
}

void put_scale(const QuantisedGroups& out, const Tensor& row, int64_t g, double scale) {
  if (out.scale.dtype == DType::kF32) {
    row.as<float>()[g * row.stride[0]] = float(scale);
    return;
  }
  const auto exponent = std::isfinite(scale) ? uint32_t(std::ilogb(scale) + 127) : 255u;
  int32_t& word = row.as<int32_t>()[g / 4 * row.stride[0]];
  if (g % 4 == 0) word = 0;
  word = int32_t(uint32_t(word) | exponent << g % 4 * 8);
}

void put_code(const Tensor& q, int64_t d, double v) {
  if (q.dtype == DType::kF8E4M3) q.as<F8E4M3>()[d] = F8E4M3(float(v));
  else q.as<int8_t>()[d] = std::isnan(v) ? int8_t(0) : int8_t(std::nearbyint(std::fmin(std::fmax(v, -127), 127)));
}

// Row t of dimension 0, a tensor of rank 1.
Tensor row_of(Tensor t, int64_t row) {
  t.data = static_cast<std::byte*>(t.data) + row * t.stride[0] * int64_t(dtype_size(t.dtype));
  t.rank = 1, t.shape[0] = t.shape[1], t.stride[0] = t.stride[1];
  return t;
}

}  // namespace

void quantise_row_by_definition(const std::vector<double>& v, const QuantisedGroups& out, const Tensor& q, const Tensor& scales) {
  for (int64_t g = 0; g < int64_t(v.size()) / out.group; ++g) {
    const std::vector<double> group(v.begin() + g * out.group, v.begin() + (g + 1) * out.group);
    const double scale = scale_of(group, out);
    put_scale(out, scales, g, scale);
    for (int64_t i = 0; i < out.group; ++i) put_code(q, g * out.group + i, double(float(group[size_t(i)] / scale)));
  }
}

Tensor row_of_tensor(const Tensor& t, int64_t r) { return t.rank == 3 ? row_of(t[r / t.shape[1]], r % t.shape[1]) : row_of(t, r); }

Status group_quant_reference(Context&, const GroupQuantArgs& args, std::byte*) {
  const Tensor& q = args.out.q;
  const int64_t T = q.shape[q.rank - 2], H = q.shape[q.rank - 1], E = q.rank == 3 ? q.shape[0] : 1;
  std::vector<double> v(size_t(H), 0.0);
  for (int64_t e = 0; e < E; ++e)
    for (int64_t t = 0; t < T; ++t) {
      if (args.masked_m.present() && t >= args.masked_m.as<int32_t>()[e * args.masked_m.stride[0]]) break;
      visit_group_quant_input(args.x, [&]<class X>(X*) {
        const X* x = row_of_tensor(args.x, e * T + t).as<X>();
        for (int64_t d = 0; d < H; ++d) {
          const double gate = float(x[d]);
          v[size_t(d)] = args.silu_mul ? float(X(float(gate / (1 + std::exp(-gate)) * float(x[H + d])))) : gate;
        }
      });
      quantise_row_by_definition(v, args.out, row_of_tensor(q, e * T + t), row_of_tensor(args.out.scale, e * T + t));
    }
  return {};
}

}  // namespace sluice
