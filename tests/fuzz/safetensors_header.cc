// The header of a safetensors file: 4 bytes of how much data follows it, then its JSON.
#include "io/safetensors_header.h"

#include <algorithm>
#include <boost/json/serialize.hpp>

#include "tests/fuzz/fuzz.h"

namespace sluice::fuzz {
namespace {

uint64_t bytes_of(const SafetensorsEntry& e) {
  uint64_t bytes = dtype_size(e.dtype);
  for (int i = 0; i < e.rank; ++i) bytes *= uint64_t(e.shape[size_t(i)]);
  return bytes;
}

// Every tensor inside of the data, and every byte of the data in one tensor.
void check_ranges(const SafetensorsHeader& h, uint64_t data_bytes) {
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const SafetensorsEntry& e : h.entries) {
    SLUICE_HOLDS(e.rank >= 0 && e.rank <= Tensor::kMaxRank);
    for (int i = 0; i < e.rank; ++i) SLUICE_HOLDS(e.shape[size_t(i)] >= 0);
    SLUICE_HOLDS(e.begin <= e.end && e.end <= data_bytes && e.end - e.begin == bytes_of(e));
    ranges.emplace_back(e.begin, e.end);
  }
  std::sort(ranges.begin(), ranges.end());
  uint64_t covered = 0;
  for (const auto& [begin, end] : ranges) {
    SLUICE_HOLDS(begin == covered);
    covered = end;
  }
  SLUICE_HOLDS(covered == data_bytes);
}

// What was read, written as a header.
std::string written(const SafetensorsHeader& h) {
  boost::json::object all;
  if (!h.metadata.empty()) {
    boost::json::object metadata;
    for (const auto& [key, value] : h.metadata) metadata[key] = value;
    all["__metadata__"] = std::move(metadata);
  }
  for (size_t i = 0; i < h.names.size(); ++i) {
    const SafetensorsEntry& e = h.entries[i];
    boost::json::array shape(e.shape.begin(), e.shape.begin() + e.rank);
    all[h.names[i]] = {{"dtype", dtype_name(e.dtype)}, {"shape", std::move(shape)}, {"data_offsets", {e.begin, e.end}}};
  }
  return boost::json::serialize(all);
}

}  // namespace

void fuzz_one(std::string_view bytes) {
  Input in(bytes);
  const uint64_t data_bytes = in.number(4);
  const auto header = parse_safetensors_header(in.rest(), data_bytes, "file");
  if (!header.ok()) return check_refusal(header.status(), "file");
  SLUICE_HOLDS(header->entries.size() == header->names.size() && header->index.size() == header->names.size());
  for (size_t i = 0; i < header->names.size(); ++i) SLUICE_HOLDS(header->index.at(header->names[i]) == i);
  check_ranges(*header, data_bytes);

  const auto again = parse_safetensors_header(written(*header), data_bytes, "again");
  SLUICE_HOLDS(again.ok(), again.status().to_string());
  SLUICE_HOLDS(again->names == header->names && again->metadata == header->metadata);
}

}  // namespace sluice::fuzz
