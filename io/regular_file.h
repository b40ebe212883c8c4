// A file opened for reading that is surely a regular one: no pipe to hang on, no device, no directory.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "base/status.h"

namespace sluice {

// "path: cannot <action>: <the system's words>"; kNotFound where nothing is there, else kIo.
Status errno_status(const std::string& path, const std::string& action, int error);

// open() with more flags; negative: see errno.
int open_to_read(const std::string& path, int flags = 0);

class RegularFile {
 public:
  static Result<RegularFile> open(const std::string& path);  // follows symlinks

  RegularFile(RegularFile&& o) noexcept : fd_(std::exchange(o.fd_, -1)), size_(o.size_), identity_(o.identity_) {}
  RegularFile& operator=(RegularFile&& o) noexcept {
    std::swap(fd_, o.fd_), std::swap(size_, o.size_), std::swap(identity_, o.identity_);
    return *this;
  }
  ~RegularFile();

  int fd() const { return fd_; }
  uint64_t size() const { return size_; }  // bytes, when it was opened
  // What no other file has at the same time: device and number.
  std::pair<uint64_t, uint64_t> identity() const { return identity_; }

 private:
  explicit RegularFile(int fd) : fd_(fd) {}
  int fd_;
  uint64_t size_ = 0;
  std::pair<uint64_t, uint64_t> identity_;
};

}  // namespace sluice
