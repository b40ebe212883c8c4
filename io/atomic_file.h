// A file that appears whole or not at all.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/status.h"

namespace sluice {

// Writes to a temporary file beside `path`; commit() flushes it to the disk and renames it. Without a commit it is removed.
class AtomicFile {
 public:
  static Result<AtomicFile> create(const std::string& path);

  AtomicFile(AtomicFile&& o) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  Status append(const void* data, size_t size);
  Status commit();

 private:
  AtomicFile(std::string path, std::string temporary, int fd);
  Status write_out(const char* data, size_t size);

  std::string path_, temporary_;
  int fd_;
  std::vector<char> pending_;  // small appends, gathered
};

}  // namespace sluice
