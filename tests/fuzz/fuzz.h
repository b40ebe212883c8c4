// What the fuzz targets share. A target is NAME.cc with fuzz_one(): what holds for every input, not only that nothing crashes.
// clang's libFuzzer drives it (./dev fuzz), and over its corpus an ordinary test does (corpus_main.cc).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace sluice::fuzz {

// The target's.
void fuzz_one(std::string_view bytes);

// Says what does not hold, and aborts.
[[noreturn]] void broken(const char* file, int line, const char* claim, const std::string& details);

#define SLUICE_HOLDS(claim, ...)                                                                \
  do {                                                                                          \
    if (!(claim)) ::sluice::fuzz::broken(__FILE__, __LINE__, #claim, std::string(__VA_ARGS__)); \
  } while (false)

// An input whose first bytes are numbers, for choices that the text behind them is not to make. Where bytes are missing they are 0.
class Input {
 public:
  explicit Input(std::string_view bytes) : bytes_(bytes) {}

  uint64_t number(size_t bytes);
  unsigned below(unsigned n) { return unsigned(number(n <= 256 ? 1 : 4) % n); }
  bool flag() { return below(2) != 0; }
  std::string_view rest() const { return bytes_; }
  bool empty() const { return bytes_.empty(); }

 private:
  std::string_view bytes_;
};

// Places at which to cut `size` bytes, ascending, from none to all; a seed has always the same.
std::vector<size_t> random_cuts(uint64_t seed, size_t size);

// `text` in the pieces between the cuts.
template <class Take>
void each_piece(std::string_view text, const std::vector<size_t>& cuts, Take take) {
  size_t begin = 0;
  for (const size_t cut : cuts) take(text.substr(begin, cut - begin)), begin = cut;
  take(text.substr(begin));
}

// What a refusal has to be: one line of printable ASCII that begins with `where`, and not endless.
void check_refusal(const Status& status, std::string_view where);

// A file of the source tree, by its path from there.
std::string source_file(const std::string& path);

}  // namespace sluice::fuzz
