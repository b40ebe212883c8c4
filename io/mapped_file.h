// A file mapped read-only, and the guard that turns its truncation into a message instead of a bare SIGBUS.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"

namespace sluice {

class MappedFile {
 public:
  // Follows symlinks; refuses all but a regular file. An empty file has empty bytes().
  static Result<MappedFile> open(const std::string& path);

  MappedFile(MappedFile&&) noexcept;
  MappedFile& operator=(MappedFile&&) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const;  // page aligned; stays where it is when the MappedFile moves
  const std::string& path() const;
  // Copies bytes() from `offset` on out of the file, past the mapping: quicker for what is used once. From any thread.
  Status read(size_t offset, size_t bytes, std::byte* to) const;

 private:
  struct Mapping;
  explicit MappedFile(std::unique_ptr<Mapping> mapping);
  std::unique_ptr<Mapping> mapping_;
};

// Once, by main: a SIGBUS inside a MappedFile (the file was truncated or its disk failed) writes one line with path and byte offset
// to stderr and exits with 1. Any other SIGBUS meets the default action. Pages beyond the new end fault; what was cut off within
// the last page reads as zeros, which the kernel does not report.
void install_truncation_guard();

}  // namespace sluice
