#include "ops/hadamard/reference.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "core/rows.h"
#include "ops/index_cache/index_cache.h"
#include "ops/indexer_prepare/forms.h"

namespace sluice {
namespace {

using Row = std::vector<double>;

Row row_of(const Tensor& x, int64_t r) {
  Row row;
  visit_float(x, [&]<class X>(X*) {
    const X* from = Rows(x).row<X>(r);
    for (int64_t d = 0; d < Rows(x).length(); ++d) row.push_back(float(from[d]));
  });
  return row;
}

double element(const Tensor& t, int64_t i) {
  return t.dtype == DType::kBF16 ? double(float(t.as<Bf16>()[i])) : double(t.as<float>()[i]);
}

void normalise(Row& row, const IndexerKey& k, double eps) {
  double sum = 0, squares = 0;
  for (const double x : row) sum += x;
  const double mean = sum / double(row.size());
  for (const double x : row) squares += (x - mean) * (x - mean);
  const double root = std::sqrt(squares / double(row.size()) + eps);
  for (size_t d = 0; d < row.size(); ++d)
    row[d] = (row[d] - mean) / root * element(k.norm_weight, int64_t(d)) + element(k.norm_bias, int64_t(d));
}

void turn(Row& row, const IndexerPrepareArgs& a, int64_t t) {
  const float* cos_sin = cos_sin_at(a, t);
  const size_t pairs = size_t(a.cos_sin.dim(1) / 2);
  for (size_t i = 0; i < pairs; ++i) {
    const bool interleaved = a.style == RopeStyle::kInterleaved;
    double &one = row[interleaved ? 2 * i : i], &two = row[interleaved ? 2 * i + 1 : i + pairs];
    const double c = cos_sin[i], s = cos_sin[pairs + i], x = one, y = two;
    one = x * c - y * s, two = y * c + x * s;
  }
  if (a.hadamard) hadamard_in_fp64(row);
}

// Gives the scale.
float quantise(const Row& row, F8E4M3* codes, Fp8ScaleRounding rounding) {
  float amax = 0;
  for (const double x : row) amax = std::fmax(amax, std::fabs(float(x)));
  const float scale = fp8_row_scale(amax, rounding);
  for (size_t d = 0; d < row.size(); ++d) codes[d] = F8E4M3(float(row[d] / scale));
  return scale;
}

void store(const Row& row, const Tensor& out, int64_t r) {
  visit_float(out, [&]<class Y>(Y*) {
    for (size_t d = 0; d < row.size(); ++d) Rows(out).row<Y>(r)[d] = Y(float(row[d]));
  });
}

void prepare_query(const IndexerPrepareArgs& a, int64_t t, int64_t h) {
  const int64_t r = t * a.q.x.dim(1) + h;
  Row row = row_of(a.q.x, r);
  turn(row, a, t);
  float scale = 1;
  if (a.q.out.dtype == DType::kF8E4M3) scale = quantise(row, Rows(a.q.out).row<F8E4M3>(r), a.scale_rounding);
  else store(row, a.q.out, r);
  put_float(a.q.scale, t, h, scale);
  if (a.q.weights.present())
    put_float(a.q.gate, t, h, float(double(float_at(a.q.weights, t, h)) * scale / std::sqrt(double(a.q.x.dim(1) * a.q.x.dim(2)))));
}

void prepare_key(const IndexerPrepareArgs& a, int64_t t) {
  Row row = row_of(a.k.x, t);
  normalise(row, a.k, a.eps);
  turn(row, a, t);
  if (a.k.out.present()) store(row, a.k.out, t);
  if (!a.k.cache.present()) return;
  const IndexCacheLayout layout(a.k.cache);
  const int64_t loc = integer_at(a.k.loc, t);
  if (!layout.holds(loc)) return;
  auto* cache = a.k.cache.as<std::byte>();
  const float scale = quantise(row, reinterpret_cast<F8E4M3*>(cache + layout.codes(loc)), a.scale_rounding);
  std::memcpy(cache + layout.scale(loc), &scale, sizeof scale);
}

}  // namespace

Status indexer_prepare_reference(Context&, const IndexerPrepareArgs& a, std::byte*) {
  for (int64_t t = 0; t < indexer_tokens(a); ++t) {
    if (a.q.x.present())
      for (int64_t h = 0; h < a.q.x.dim(1); ++h) prepare_query(a, t, h);
    if (a.k.x.present()) prepare_key(a, t);
  }
  return {};
}

}  // namespace sluice
