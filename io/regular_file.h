// A file opened for reading that is surely a regular one: no pipe to hang on, no device, no directory.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "base/status.h"

namespace sluice {

// "path: cannot <action>: <the system's words>"; kNotFound where nothing is there, else kIo.
Status errno_status(const std::string& path, const std::string& action, int error);

class RegularFile {
 public:
  static Result<RegularFile> open(const std::string& path);  // follows symlinks

  RegularFile(RegularFile&& o) noexcept : fd_(std::exchange(o.fd_, -1)), size_(o.size_) {}
  RegularFile& operator=(RegularFile&& o) noexcept {
    std::swap(fd_, o.fd_), std::swap(size_, o.size_);
    return *this;
  }
  ~RegularFile();

  int fd() const { return fd_; }
  uint64_t size() const { return size_; }  // bytes, when it was opened

 private:
  RegularFile(int fd, uint64_t size) : fd_(fd), size_(size) {}
  int fd_;
  uint64_t size_;
};

}  // namespace sluice
