#include "cli/read_text.h"

#include <unistd.h>

#include <cerrno>

#include "io/regular_file.h"

namespace sluice::cli {
namespace {

// Streams of the standard library take a failed read for the end of the file.
Result<std::string> read_to_end(int fd, const std::string& name) {
  constexpr size_t kPiece = 1 << 16;
  std::string text;
  for (size_t done = 0;;) {
    text.resize(done + kPiece);
    const ssize_t n = ::read(fd, text.data() + done, kPiece);
    if (n < 0 && errno != EINTR) return errno_status(name, "read", errno);
    done += n > 0 ? size_t(n) : 0;
    text.resize(done);
    if (n == 0) return text;
  }
}

}  // namespace

Result<std::string> read_text(const std::string& path) {
  if (path == "-") return read_to_end(STDIN_FILENO, "standard input");
  const int fd = open_to_read(path);
  if (fd < 0) return errno_status(path, "open", errno);
  struct Close {
    int fd;
    ~Close() { ::close(fd); }
  } const close{fd};
  return read_to_end(fd, path);
}

}  // namespace sluice::cli
