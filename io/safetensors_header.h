// The header of a safetensors file, read and checked by the rules of the format's Rust reference: known dtypes, size = shape x
// dtype with checked products, no key twice, ranges that cover the data from 0 to its end without a hole or an overlap.
//
// Stricter than the reference in three things, so that nothing is misread: fields other than dtype, shape and data_offsets are
// refused, so is a dimension or offset beyond 2^63 - 1, and so are sizes that Sluice cannot view (see the limits below).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "core/tensor.h"

namespace sluice {

inline constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;  // bytes, the reference's limit
inline constexpr size_t kMaxSafetensorsTensors = 1 << 16;       // in one file; DeepSeek-V3 has 91 000 in its 163 files

struct SafetensorsEntry {
  DType dtype = DType::kF32;
  int rank = 0;  // 0: a scalar
  std::array<int64_t, Tensor::kMaxRank> shape{};
  uint64_t begin = 0, end = 0;  // bytes of the data that follows the header
};

struct SafetensorsHeader {
  std::vector<std::string> names;  // in the order of the header
  std::vector<SafetensorsEntry> entries;
  std::unordered_map<std::string_view, uint32_t> index;  // the keys point into `names`
  std::map<std::string, std::string> metadata;

  SafetensorsHeader() = default;
  SafetensorsHeader(SafetensorsHeader&&) = default;
  SafetensorsHeader& operator=(SafetensorsHeader&&) = default;
};

// `where` begins every message; data_bytes is what the file holds after the header.
Result<SafetensorsHeader> parse_safetensors_header(std::string_view text, uint64_t data_bytes, const std::string& where);

}  // namespace sluice
