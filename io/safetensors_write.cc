#include <algorithm>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <numeric>

#include "io/atomic_file.h"
#include "io/quote.h"
#include "io/safetensors.h"

namespace sluice {
namespace {

using Named = std::pair<std::string, Tensor>;

std::string json_text(const std::string& s) { return boost::json::serialize(boost::json::string(s)); }

// Largest elements first: then every tensor's begin is a multiple of its element.
std::vector<size_t> data_order(std::span<const Named> tensors) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return dtype_size(tensors[a].second.dtype) > dtype_size(tensors[b].second.dtype); });
  return order;
}

std::string header_text(std::span<const Named> tensors, const std::vector<size_t>& order,
                        const std::map<std::string, std::string>& metadata) {
  std::vector<uint64_t> begin(tensors.size());
  uint64_t end = 0;
  for (const size_t i : order) begin[i] = end, end += tensors[i].second.bytes();

  std::string text = "{";
  const auto key = [&](const std::string& name) { return (text.back() == '{' ? "" : ",") + json_text(name) + ":"; };
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    for (const auto& [name, value] : metadata) text += key(name), text += json_text(value);
    text += "}";
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& t = tensors[i].second;
    text += key(tensors[i].first) + "{\"dtype\":\"" + std::string(dtype_name(t.dtype)) + "\",\"shape\":[";
    for (int d = 0; d < t.rank; ++d) text += (d ? "," : "") + std::to_string(t.shape[d]);
    text += "],\"data_offsets\":[" + std::to_string(begin[i]) + "," + std::to_string(begin[i] + t.bytes()) + "]}";
  }
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the data begins aligned
  return text;
}

Status append_tensor(AtomicFile& file, const Tensor& t) {
  if (t.numel() == 0) return {};
  if (t.contiguous()) return file.append(t.data, t.bytes());
  const size_t element = dtype_size(t.dtype);
  for (int64_t i = 0; i < t.dim(0); ++i) {
    if (t.rank > 1) SLUICE_RETURN_IF_ERROR(append_tensor(file, t[i]));
    else SLUICE_RETURN_IF_ERROR(file.append(static_cast<const char*>(t.data) + i * t.stride[0] * int64_t(element), element));
  }
  return {};
}

}  // namespace

Status write_safetensors(const std::string& path, std::span<const Named> tensors,
                         const std::map<std::string, std::string>& metadata, const std::function<void(size_t bytes)>& show) {
  uint64_t data_bytes = 0;
  for (const auto& [name, t] : tensors) {
    if (!t.present()) return invalid(path + ": tensor " + quote(name) + " is absent, wanted rank 1 to 5");
    data_bytes += t.bytes();
  }
  const std::vector<size_t> order = data_order(tensors);
  const std::string header = header_text(tensors, order, metadata);
  // The reader's rules hold for what is written: names that are UTF-8, none twice, sizes within the limits.
  const auto readable = parse_safetensors_header(header, data_bytes, path + ": header");
  if (!readable.ok()) return invalid(readable.status().message(), readable.status().hint());

  SLUICE_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  char prefix[8];
  for (int i = 0; i < 8; ++i) prefix[i] = char(uint64_t(header.size()) >> (8 * i));
  SLUICE_RETURN_IF_ERROR(file.append(prefix, sizeof(prefix)));
  SLUICE_RETURN_IF_ERROR(file.append(header.data(), header.size()));
  for (const size_t i : order) {
    SLUICE_RETURN_IF_ERROR(append_tensor(file, tensors[i].second));
    if (show) show(tensors[i].second.bytes());
  }
  return file.commit();
}

}  // namespace sluice
