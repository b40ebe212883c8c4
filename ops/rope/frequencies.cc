// Frequencies and factors, once at load time; the C library's functions are fine here.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "ops/rope/rope.h"

namespace sluice {
namespace {

double yarn_mscale(const RopeScaling& s, double mscale) { return s.factor <= 1 ? 1 : 0.1 * mscale * std::log(s.factor) + 1; }

// The pair (as a real number) that turns `rotations` times within the original context.
double yarn_pair_of(double rotations, double theta, int rotary_dim, double original_max_position) {
  return rotary_dim * std::log(original_max_position / (rotations * 2 * std::numbers::pi)) / (2 * std::log(theta));
}

}  // namespace

std::vector<double> rope_frequencies(double theta, int rotary_dim, const RopeScaling& s) {
  std::vector<double> f(rotary_dim / 2);
  for (size_t i = 0; i < f.size(); ++i) f[i] = std::pow(theta, -2.0 * double(i) / rotary_dim);
  if (s.factor == 1) return f;
  // Pairs before `low` turn often enough to be left as they are, pairs after `high` are stretched by the factor, a ramp between.
  const double last = rotary_dim - 1;
  const double low = std::clamp(std::floor(yarn_pair_of(s.beta_fast, theta, rotary_dim, s.original_max_position)), 0.0, last);
  const double end = std::clamp(std::ceil(yarn_pair_of(s.beta_slow, theta, rotary_dim, s.original_max_position)), 0.0, last);
  const double high = end == low ? low + 0.001 : end;  // as published: keeps the ramp's slope finite
  for (size_t i = 0; i < f.size(); ++i) {
    const double stretched = std::clamp((double(i) - low) / (high - low), 0.0, 1.0);
    f[i] *= stretched / s.factor + (1 - stretched);
  }
  return f;
}

double rope_cos_sin_factor(const RopeScaling& s) { return yarn_mscale(s, s.mscale) / yarn_mscale(s, s.mscale_all_dim); }

double rope_softmax_factor(const RopeScaling& s) { return yarn_mscale(s, s.mscale_all_dim) * yarn_mscale(s, s.mscale_all_dim); }

}  // namespace sluice
