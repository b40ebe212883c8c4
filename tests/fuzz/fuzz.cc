#include "tests/fuzz/fuzz.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "io/json.h"
#include "io/quote.h"

namespace sluice::fuzz {

void broken(const char* file, int line, const char* claim, const std::string& details) {
  std::fprintf(stderr, "%s:%d: does not hold: %s\n%s\n", file, line, claim, details.c_str());
  std::abort();
}

uint64_t Input::number(size_t bytes) {
  uint64_t n = 0;
  for (size_t i = 0; i < bytes && !bytes_.empty(); ++i) {
    n |= uint64_t(static_cast<unsigned char>(bytes_.front())) << (8 * i);
    bytes_.remove_prefix(1);
  }
  return n;
}

std::vector<size_t> random_cuts(uint64_t seed, size_t size) {
  std::vector<size_t> cuts;
  const uint64_t rarity = 1 + seed % 13;
  uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
  for (size_t at = 1; at < size; ++at) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;  // xorshift64 (Marsaglia 2003)
    if ((state >> 32) % rarity == 0) cuts.push_back(at);
  }
  return cuts;
}

void check_refusal(const Status& status, std::string_view where) {
  SLUICE_HOLDS(!status.ok());
  const std::string& message = status.message();
  SLUICE_HOLDS(message.starts_with(where), message);
  SLUICE_HOLDS(message.size() > where.size() && message.size() < where.size() + 2000, message);
  SLUICE_HOLDS(std::all_of(message.begin(), message.end(), [](char c) { return c >= 0x20 && c < 0x7f; }), quote(message, 4000));
}

std::string source_file(const std::string& path) {
  auto text = read_small_file(SLUICE_SOURCE_DIR "/" + path, size_t(64) << 20);
  SLUICE_HOLDS(text.ok(), text.status().to_string());
  return std::move(text).value();
}

}  // namespace sluice::fuzz
