#include "io/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "io/regular_file.h"

namespace sluice {
namespace {
constexpr size_t kGather = 1 << 18;  // bytes; above this a write's own cost is lost in the copying
std::atomic<unsigned> g_serial;      // two writers of this process
}  // namespace

AtomicFile::AtomicFile(std::string path, std::string temporary, int fd)
    : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}

AtomicFile::AtomicFile(AtomicFile&& o) noexcept
    : path_(std::move(o.path_)),
      temporary_(std::move(o.temporary_)),
      fd_(std::exchange(o.fd_, -1)),
      pending_(std::move(o.pending_)) {}

Result<AtomicFile> AtomicFile::create(const std::string& path) {
  const std::string temporary = path + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(g_serial++);
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0) return errno_status(temporary, "create", errno);
  return AtomicFile(path, temporary, fd);
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

Status AtomicFile::append(const void* data, size_t size) {
  const char* bytes = static_cast<const char*>(data);
  if (pending_.size() + size <= kGather) {
    pending_.insert(pending_.end(), bytes, bytes + size);
    return {};
  }
  SLUICE_RETURN_IF_ERROR(write_out(pending_.data(), pending_.size()));
  pending_.clear();
  if (size <= kGather) return append(data, size);
  return write_out(bytes, size);
}

Status AtomicFile::write_out(const char* data, size_t size) {
  while (size > 0) {
    const ssize_t n = ::write(fd_, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_status(path_, "write", errno);
    data += n, size -= size_t(n);
  }
  return {};
}

Status AtomicFile::commit() {
  SLUICE_RETURN_IF_ERROR(write_out(pending_.data(), pending_.size()));
  if (::fsync(fd_) != 0) return errno_status(path_, "flush", errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return errno_status(path_, "rename the finished file to this name", errno);
  ::close(std::exchange(fd_, -1));
  return {};
}

}  // namespace sluice
