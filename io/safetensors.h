// Safetensors files: 8 bytes of header length (little endian), a JSON header, the tensors' bytes.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "io/mapped_file.h"
#include "io/safetensors_header.h"

namespace sluice {

// Views of a mapped file; nothing is read but the header. Tensors live as long as this object, moves included.
class SafetensorsFile {
 public:
  static Result<SafetensorsFile> open(const std::string& path);

  // Null when there is none. Dense, read-only. A scalar (shape []) is given as [1], because rank 0 means absent.
  const Tensor* find(std::string_view name) const;
  const std::vector<std::string>& names() const { return header_.names; }  // in the order of the header
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  const std::string& path() const { return file_.path(); }
  // Whether bytes of a tensor lie in the file, and their copy out of it, see MappedFile::read().
  bool holds(const void* place) const;
  Status read(const void* place, size_t bytes, std::byte* to) const;

 private:
  SafetensorsFile(MappedFile file, SafetensorsHeader header, size_t data_begin);
  Tensor view(const SafetensorsEntry& entry, size_t data_begin);

  MappedFile file_;
  SafetensorsHeader header_;
  std::vector<Tensor> tensors_;
  std::vector<std::unique_ptr<std::byte[]>> realigned_;
};

// Written beside `path` and renamed, so a reader sees the old file or the whole new one. Tensors may be strided.
// Their bytes are laid out by falling size of element, so that each is aligned; the header keeps the order given.
// show: bytes of each tensor, when they are written.
Status write_safetensors(const std::string& path, std::span<const std::pair<std::string, Tensor>> tensors,
                         const std::map<std::string, std::string>& metadata = {},
                         const std::function<void(size_t bytes)>& show = {});

}  // namespace sluice
