#include "io/safetensors_header.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <optional>
#include <utility>

#include "base/checked.h"
#include "io/json_sax.h"
#include "io/quote.h"

namespace sluice {
namespace {

namespace json = boost::json;

constexpr std::string_view kMetadataKey = "__metadata__";
// Types of the format that core/dtype.h does not have.
constexpr std::string_view kUnservedTypes[] = {"F4", "F6_E2M3", "F6_E3M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "C64"};

std::string tensor_named(std::string_view name) { return "tensor " + quote(name); }

std::string shape_text(const SafetensorsEntry& e) {
  std::string text = "[";
  for (int i = 0; i < e.rank; ++i) text += (i ? ", " : "") + std::to_string(e.shape[i]);
  return text + "]";
}

// {"__metadata__": {text: text}, name: {"dtype": text, "shape": [integers], "data_offsets": [begin, end]}, ...}
// The parser knows JSON; this knows which event may come where, and checks each tensor as it closes.
class HeaderReader : public SaxHandler {
 public:
  SafetensorsHeader header;

  bool on_object_begin(JsonErrorCode& ec) {
    if (at_ == At::kStart) return at_ = At::kRoot, true;
    if (at_ != At::kRoot) return misplaced(ec, "an object");
    if (key_ == kMetadataKey) return begin_metadata(ec);
    if (header.names.size() == kMaxSafetensorsTensors)
      return refuse(ec, bad_file("more than " + std::to_string(kMaxSafetensorsTensors) + " tensors, the most in one file"));
    header.names.push_back(key_);
    header.entries.emplace_back();
    seen_ = 0;
    at_ = At::kTensor;
    return true;
  }
  bool on_object_end(size_t, JsonErrorCode& ec) {
    if (at_ == At::kTensor && !end_tensor(ec)) return false;
    at_ = At::kRoot;
    return true;
  }
  bool on_array_begin(JsonErrorCode& ec) {
    if (at_ != At::kTensor || (field_ != kShape && field_ != kOffsets)) return misplaced(ec, "a list");
    at_ = At::kList;
    count_ = 0;
    return true;
  }
  bool on_array_end(size_t, JsonErrorCode& ec) {
    at_ = At::kTensor;
    if (field_ == kOffsets && count_ != 2)
      return refuse_tensor(ec, "data_offsets has " + std::to_string(count_) + " entries, wanted 2");
    if (field_ == kShape && count_ > size_t(Tensor::kMaxRank))
      return refuse_tensor(ec, "has " + std::to_string(count_) + " dimensions, wanted at most " + std::to_string(Tensor::kMaxRank));
    if (field_ == kShape) header.entries.back().rank = int(count_);
    return true;
  }

  bool on_key_part(json::string_view s, size_t, JsonErrorCode&) { return text_.append(s), true; }
  bool on_key(json::string_view s, size_t, JsonErrorCode& ec) {
    text_.append(s);
    key_.swap(text_);
    text_.clear();
    return at_ != At::kTensor || begin_field(ec);
  }
  bool on_string_part(json::string_view s, size_t, JsonErrorCode&) { return text_.append(s), true; }
  bool on_string(json::string_view s, size_t, JsonErrorCode& ec) {
    text_.append(s);
    std::string value;
    value.swap(text_);
    if (at_ == At::kMetadata) {
      if (header.metadata.emplace(key_, value).second) return true;
      return refuse(ec, bad_file("__metadata__ has key " + quote(key_) + " twice"));
    }
    return at_ == At::kTensor && field_ == kDtype ? read_dtype(ec, value) : misplaced(ec, quote(value));
  }

  bool on_int64(int64_t i, json::string_view s, JsonErrorCode& ec) { return number(ec, i, s); }
  bool on_uint64(uint64_t, json::string_view s, JsonErrorCode& ec) { return number(ec, -1, s); }
  bool on_double(double, json::string_view s, JsonErrorCode& ec) { return number(ec, -1, s); }
  bool on_bool(bool b, JsonErrorCode& ec) { return misplaced(ec, b ? "true" : "false"); }
  bool on_null(JsonErrorCode& ec) { return misplaced(ec, "null"); }

 private:
  enum class At { kStart, kRoot, kMetadata, kTensor, kList };
  enum Field { kDtype, kShape, kOffsets };
  static constexpr std::string_view kFieldNames[] = {"dtype", "shape", "data_offsets"};

  bool refuse_tensor(JsonErrorCode& ec, const std::string& what, Code code = Code::kBadFile) {
    return refuse(ec, Status(code, tensor_named(header.names.back()) + ": " + what));
  }

  // A value of the wrong kind for its place.
  bool misplaced(JsonErrorCode& ec, const std::string& found) {
    switch (at_) {
      case At::kStart:
        return refuse(ec, bad_file("is " + found + ", wanted an object"));
      case At::kRoot:
        return refuse(ec, bad_file(tensor_named(key_) + ": is " + found + ", wanted an object"));
      case At::kMetadata:
        return refuse(ec, bad_file("__metadata__ " + quote(key_) + ": is " + found + ", wanted text"));
      case At::kTensor:
        return refuse_tensor(ec, key_ + " is " + found + ", wanted " + (field_ == kDtype ? "text" : "a list of integers"));
      case At::kList:
        break;
    }
    return refuse_tensor(ec, key_ + " holds " + found + ", wanted integers from 0 to 2^63 - 1");
  }

  bool begin_metadata(JsonErrorCode& ec) {
    if (std::exchange(has_metadata_, true)) return refuse(ec, bad_file("key '__metadata__' comes twice"));
    at_ = At::kMetadata;
    return true;
  }

  bool begin_field(JsonErrorCode& ec) {
    const auto found = std::find(std::begin(kFieldNames), std::end(kFieldNames), key_);
    if (found == std::end(kFieldNames))
      return refuse_tensor(ec, "has field " + quote(key_) + ", wanted dtype, shape and data_offsets only");
    field_ = Field(found - std::begin(kFieldNames));
    if (seen_ & (1u << field_)) return refuse_tensor(ec, "has " + key_ + " twice");
    seen_ |= 1u << field_;
    return true;
  }

  bool read_dtype(JsonErrorCode& ec, const std::string& name) {
    const std::optional<DType> dtype = dtype_from_name(name);
    if (dtype) return header.entries.back().dtype = *dtype, true;
    const bool known = std::find(std::begin(kUnservedTypes), std::end(kUnservedTypes), name) != std::end(kUnservedTypes);
    const std::string wanted = ", wanted F32, BF16, F16, F64, F8_E4M3, F8_E5M2, BOOL or an integer type I8 to U64";
    if (known) return refuse_tensor(ec, "has dtype " + name + ", which Sluice does not read" + wanted, Code::kUnsupported);
    return refuse_tensor(ec, "has unknown dtype " + quote(name) + wanted);
  }

  // value < 0: not an integer that fits.
  bool number(JsonErrorCode& ec, int64_t value, json::string_view text) {
    if (at_ != At::kList || value < 0) return misplaced(ec, std::string(text.substr(0, 40)));
    SafetensorsEntry& e = header.entries.back();
    if (field_ == kOffsets && count_ < 2) (count_ ? e.end : e.begin) = uint64_t(value);
    if (field_ == kShape && count_ < e.shape.size()) e.shape[count_] = value;
    ++count_;
    return true;
  }

  bool end_tensor(JsonErrorCode& ec) {
    for (const Field f : {kDtype, kShape, kOffsets})
      if (!(seen_ & (1u << f))) return refuse_tensor(ec, std::string(kFieldNames[f]) + " is missing");
    const SafetensorsEntry& e = header.entries.back();
    const std::string range = "data_offsets [" + std::to_string(e.begin) + ", " + std::to_string(e.end) + "]";
    if (e.begin > e.end) return refuse_tensor(ec, range + " are reversed, wanted begin <= end");
    const std::optional<int64_t> bytes = bytes_of(e);
    const std::string type = "shape " + shape_text(e) + " of " + std::string(dtype_name(e.dtype));
    if (!bytes) return refuse_tensor(ec, type + " has more than 2^63 - 1 bytes");
    if (uint64_t(*bytes) != e.end - e.begin)
      return refuse_tensor(
          ec, range + " hold " + std::to_string(e.end - e.begin) + " bytes, wanted " + std::to_string(*bytes) + " for " + type);
    return true;
  }

  // Strides are computed without the zeros, so the product of the other dimensions must fit too.
  static std::optional<int64_t> bytes_of(const SafetensorsEntry& e) {
    std::optional<int64_t> bytes = int64_t(dtype_size(e.dtype));
    bool empty = false;
    for (int i = 0; i < e.rank && bytes; ++i) {
      empty = empty || e.shape[i] == 0;
      bytes = checked_mul(*bytes, std::max<int64_t>(e.shape[i], 1));
    }
    return bytes && empty ? 0 : bytes;
  }

  At at_ = At::kStart;
  Field field_ = kDtype;
  unsigned seen_ = 0;  // fields of the open tensor, a bit each
  size_t count_ = 0;   // entries of the open list
  bool has_metadata_ = false;
  std::string key_, text_;
};

Status index_names(SafetensorsHeader& h, const std::string& where) {
  h.index.reserve(h.names.size());
  for (size_t i = 0; i < h.names.size(); ++i)
    if (!h.index.emplace(h.names[i], uint32_t(i)).second) return bad_file(where + ": " + tensor_named(h.names[i]) + " comes twice");
  return {};
}

// Sorted by place, each tensor begins where the one before it ends, and the last ends with the file.
Status check_coverage(const SafetensorsHeader& h, uint64_t data_bytes, const std::string& where) {
  std::vector<uint32_t> order(h.entries.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    const auto &x = h.entries[a], &y = h.entries[b];
    return std::pair(x.begin, x.end) < std::pair(y.begin, y.end);
  });
  uint64_t end = 0;
  std::string before = "the start of the data";
  for (const uint32_t i : order) {
    const SafetensorsEntry& e = h.entries[i];
    if (e.begin != end)
      return bad_file(where + ": " + tensor_named(h.names[i]) + ": begins at byte " + std::to_string(e.begin) +
                      " of the data, wanted " + std::to_string(end) + ", " + before);
    if (e.end > data_bytes)
      return bad_file(where + ": " + tensor_named(h.names[i]) + ": ends at byte " + std::to_string(e.end) +
                      " of the data, the file has " + std::to_string(data_bytes));
    end = e.end;
    before = "the end of " + tensor_named(h.names[i]);
  }
  if (end != data_bytes)
    return bad_file(where + ": the file has " + std::to_string(data_bytes) + " bytes of data, wanted " + std::to_string(end) +
                    ", " + before);
  return {};
}

}  // namespace

Result<SafetensorsHeader> parse_safetensors_header(std::string_view text, uint64_t data_bytes, const std::string& where) {
  json::basic_parser<HeaderReader> parser(strict_json());
  SLUICE_RETURN_IF_ERROR(parse_sax(parser, text, where));
  SafetensorsHeader header = std::move(parser.handler().header);
  SLUICE_RETURN_IF_ERROR(index_names(header, where));
  SLUICE_RETURN_IF_ERROR(check_coverage(header, data_bytes, where));
  return header;
}

}  // namespace sluice
