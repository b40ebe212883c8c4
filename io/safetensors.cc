#include "io/safetensors.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "io/quote.h"

namespace sluice {
namespace {

constexpr size_t kPrefix = 8;  // bytes of the header's length

// The header's bytes. Everything the file says about its own size is checked against the file before it is used.
Result<std::string_view> header_text(const MappedFile& file) {
  const auto bytes = file.bytes();
  const auto fail = [&](const std::string& what) { return bad_file(file.path() + ": " + what); };
  if (bytes.size() < kPrefix)
    return fail("has " + std::to_string(bytes.size()) + " bytes, wanted at least 8 for the header's length");
  uint64_t length = 0;
  for (size_t i = 0; i < kPrefix; ++i) length |= uint64_t(bytes[i]) << (8 * i);
  if (length > kMaxSafetensorsHeader)
    return fail("header length is " + std::to_string(length) + ", wanted at most " + std::to_string(kMaxSafetensorsHeader));
  if (length > bytes.size() - kPrefix)
    return fail("header length is " + std::to_string(length) + ", the file has " + std::to_string(bytes.size() - kPrefix) +
                " bytes after it");
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + kPrefix, length);
  if (text.empty() || text[0] != '{') return fail("header begins with " + quote(text.substr(0, 1)) + ", wanted '{'");
  return text;
}

}  // namespace

Result<SafetensorsFile> SafetensorsFile::open(const std::string& path) {
  SLUICE_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
  SLUICE_ASSIGN_OR_RETURN(const std::string_view text, header_text(file));
  const size_t data_begin = kPrefix + text.size();
  SLUICE_ASSIGN_OR_RETURN(SafetensorsHeader header,
                          parse_safetensors_header(text, file.bytes().size() - data_begin, path + ": header"));
  return SafetensorsFile(std::move(file), std::move(header), data_begin);
}

SafetensorsFile::SafetensorsFile(MappedFile file, SafetensorsHeader header, size_t data_begin)
    : file_(std::move(file)), header_(std::move(header)) {
  tensors_.reserve(header_.entries.size());
  for (const SafetensorsEntry& entry : header_.entries) tensors_.push_back(view(entry, data_begin));
}

Tensor SafetensorsFile::view(const SafetensorsEntry& entry, size_t data_begin) {
  const std::byte* data = file_.bytes().data() + data_begin + entry.begin;
  const size_t size = entry.end - entry.begin;
  // Writers have padded the header for alignment since 2023 only; what lies badly is copied.
  if (reinterpret_cast<uintptr_t>(data) % dtype_size(entry.dtype) != 0) {
    realigned_.push_back(std::make_unique_for_overwrite<std::byte[]>(size));
    std::memcpy(realigned_.back().get(), data, size);
    data = realigned_.back().get();
  }
  Tensor t;
  t.data = const_cast<std::byte*>(data);
  t.dtype = entry.dtype;
  t.rank = std::max(entry.rank, 1);
  t.shape = entry.shape;
  if (entry.rank == 0) t.shape[0] = 1;
  int64_t step = 1;
  for (int i = t.rank - 1; i >= 0; --i) t.stride[i] = step, step *= std::max<int64_t>(t.shape[i], 1);
  return t;
}

const Tensor* SafetensorsFile::find(std::string_view name) const {
  const auto found = header_.index.find(name);
  return found == header_.index.end() ? nullptr : &tensors_[found->second];
}

bool SafetensorsFile::holds(const void* place) const {
  const auto file = file_.bytes();
  return std::less_equal<>()(file.data(), place) && std::less<>()(place, file.data() + file.size());
}

Status SafetensorsFile::read(const void* place, size_t bytes, std::byte* to) const {
  return file_.read(size_t(static_cast<const std::byte*>(place) - file_.bytes().data()), bytes, to);
}

}  // namespace sluice
