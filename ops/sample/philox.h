// Philox 4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", 2011): random bits as a function of a
// counter and a key, without state.
#pragma once

#include <array>
#include <cstdint>

namespace sluice {

constexpr std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t(0xD2511F53u) * counter[0], b = uint64_t(0xCD9E8D57u) * counter[2];
    counter = {uint32_t(b >> 32) ^ counter[1] ^ key[0], uint32_t(b), uint32_t(a >> 32) ^ counter[3] ^ key[1], uint32_t(a)};
    key[0] += 0x9E3779B9u, key[1] += 0xBB67AE85u;
  }
  return counter;
}

// The draw of a sequence at a position: uniform in [0, 1), 53 bits.
constexpr double sample_uniform(uint64_t seed, int32_t position) {
  const auto r = philox({uint32_t(position), 0, 0, 0}, {uint32_t(seed), uint32_t(seed >> 32)});
  return double((uint64_t(r[0]) << 21) | (r[1] >> 11)) * 0x1p-53;
}

}  // namespace sluice
