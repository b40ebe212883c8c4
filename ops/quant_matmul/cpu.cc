// Any CPU: a row of w at a time, its codes widened once for all rows of x, sums of 32 products in the compiler's own vectors.
#include "ops/quant_matmul/activations.h"
#include "ops/quant_matmul/fp8_body.h"

namespace sluice {
namespace {

using Fp8 = Fp8Widened<simd::Plain>;
constexpr int64_t kRowsOfItem = 16;

// Of one thread: a row of w.
struct Row {
  static size_t bytes(const QuantMatmulArgs& a) {
    return size_t(round_up(a.x.shape[1] + a.scale.shape[1] * int64_t(sizeof(float)), kCacheLine));
  }
  float* scale;
  int8_t* codes;
  Row(std::byte* memory, const QuantMatmulArgs& a)
      : scale(reinterpret_cast<float*>(memory)), codes(reinterpret_cast<int8_t*>(scale + a.scale.shape[1])) {}
};

int offset_of(const QuantMatmulArgs& a) { return code_type(a.w) == CodeType::kInt4 ? kInt4Offset : 0; }

// int4 as stored, in the order of Activations.
void read_row(const QuantMatmulArgs& a, int64_t n, const Row& row) {
  const uint8_t* w = row_of_codes(a.w, n);
  if (code_type(a.w) == CodeType::kInt8) std::memcpy(row.codes, w, size_t(a.x.shape[1]));
  else
    for (int64_t g = 0; g < a.x.shape[1]; g += kQuantGroup)
      for (int64_t i = 0; i < kQuantGroup / 2; ++i) {
        row.codes[g + i] = int8_t(w[g / 2 + i] & 15);
        row.codes[g + kQuantGroup / 2 + i] = int8_t(w[g / 2 + i] >> 4);
      }
  visit_scale(a.scale, [&]<class S>(S*) {
    const S* scale = a.scale.as<S>() + n * a.scale.stride[0];
    for (int64_t j = 0; j < a.scale.shape[1]; ++j) row.scale[j] = float(scale[j]);
  });
}

float multiply(const QuantMatmulArgs& a, const Row& w, const Activations& x, int64_t m) {
  const int64_t groups_of_scale = x.groups / a.scale.shape[1];
  const int8_t *codes = x.codes_of(m), *row = w.codes;
  const float* scale = x.scale_of(m);
  const int32_t* start = x.start_of(m);
  float y = 0;
  for (int64_t j = 0; j < a.scale.shape[1]; ++j) {
    float p = 0;
    for (int64_t g = 0; g < groups_of_scale; ++g, codes += kQuantGroup, row += kQuantGroup) {
      int sum = *start++;
      for (int64_t i = 0; i < kQuantGroup; ++i) sum += int(row[i]) * codes[i];
      p += float(sum) * *scale++;
    }
    y += p * w.scale[j];
  }
  return y;
}

}  // namespace

Status quant_matmul_cpu(Context& ctx, const QuantMatmulArgs& a, std::byte* scratch) {
  if (code_type(a.w) == CodeType::kFp8) return fp8_matmul<Fp8>(ctx, a, scratch);
  const int64_t m = a.x.shape[0], n = a.w.shape[0];
  if (m == 0 || n == 0) return {};
  const Activations x(scratch, a, 1, offset_of(a));
  std::byte* per_thread = scratch + Activations::bytes(m, a.x.shape[1], 1);
  ctx.team->split(m, 16, [&](int64_t begin, int64_t end, int) { x.quantise<simd::Plain>(a.x, begin, end); });
  ctx.team->each(ceil_div(n, kRowsOfItem), [&](int64_t item, int thread) {
    const Row row(per_thread + thread * Row::bytes(a), a);
    for (int64_t i = item * kRowsOfItem; i < std::min((item + 1) * kRowsOfItem, n); ++i) {
      read_row(a, i, row);
      visit_float(a.y, [&]<class Y>(Y*) {
        for (int64_t j = 0; j < m; ++j) a.y.as<Y>()[j * a.y.stride[0] + i] = Y(multiply(a, row, x, j));
      });
    }
  });
  return {};
}

size_t quant_matmul_cpu_workspace(const Context& ctx, const QuantMatmulArgs& a) {
  if (code_type(a.w) == CodeType::kFp8) return fp8_workspace<Fp8>(ctx, a);
  return Activations::bytes(a.x.shape[0], a.x.shape[1], 1) + ctx.team->size() * Row::bytes(a);
}

}  // namespace sluice
