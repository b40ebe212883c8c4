#include "io/regular_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace sluice {
namespace {

// Of what open() takes, which a socket is not.
const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a pipe";
  return "a device";
}

}  // namespace

Status errno_status(const std::string& path, const std::string& action, int error) {
  const Code code = error == ENOENT || error == ENOTDIR ? Code::kNotFound : Code::kIo;
  return Status(code, path + ": cannot " + action + ": " + std::error_code(error, std::generic_category()).message());
}

int open_to_read(const std::string& path, int flags) {
  int fd;
  do fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags);
  while (fd < 0 && errno == EINTR);  // a file that comes over a network
  return fd;
}

Result<RegularFile> RegularFile::open(const std::string& path) {
  // A path with a NUL in it (from a JSON escape) would open another file than it names.
  if (path.find('\0') != std::string::npos) return bad_file(std::string(path.c_str()) + ": the path goes on after a NUL byte");
  // Non-blocking, or opening a pipe would wait for its writer.
  const int fd = open_to_read(path, O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return errno_status(path, "open", errno);
  RegularFile file(fd);
  struct stat info;
  if (::fstat(fd, &info) != 0) return errno_status(path, "read the size", errno);
  if (!S_ISREG(info.st_mode)) return bad_file(path + ": is " + kind_of(info.st_mode) + ", wanted a regular file");
  file.size_ = uint64_t(info.st_size), file.identity_ = {uint64_t(info.st_dev), uint64_t(info.st_ino)};
  return file;
}

RegularFile::~RegularFile() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace sluice
