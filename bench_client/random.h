// Draws that are the same on every platform: the engine is fixed by the standard, the distributions are ours.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <random>

namespace sluice::bench {

class Random {
 public:
  // Streams with other numbers are independent of each other, whatever order they are made in.
  Random(uint64_t seed, uint64_t stream) : engine_(mix(mix(seed) ^ stream)) {}

  uint64_t below(uint64_t n) { return engine_() % n; }                               // n is far below 2^64
  double uniform() { return (double(engine_() >> 11) + 0.5) / 9007199254740992.0; }  // in (0, 1)
  double normal() { return std::sqrt(-2 * std::log(uniform())) * std::cos(2 * std::numbers::pi * uniform()); }

  // Gamma with this shape and scale 1 (Marsaglia and Tsang 2000; shapes below 1 by the power of a uniform).
  double gamma(double shape) {
    if (shape < 1) {
      const double g = gamma(shape + 1);
      return g * std::pow(uniform(), 1 / shape);
    }
    const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
    for (;;) {
      const double x = normal(), v = std::pow(1 + c * x, 3);
      if (v > 0 && std::log(uniform()) < 0.5 * x * x + d * (1 - v + std::log(v))) return d * v;
    }
  }

 private:
  static uint64_t mix(uint64_t x) {  // splitmix64
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }
  std::mt19937_64 engine_;
};

}  // namespace sluice::bench
