// `sluice serve` as a child process, and what the system knows of it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "base/status.h"
#include "bench_client/url.h"

namespace sluice::soak {

// The demo model with a chat template that knows tools, as a folder of links that goes away with this.
class ModelFolder {
 public:
  explicit ModelFolder(const std::string& source_dir);
  ~ModelFolder();
  ModelFolder(const ModelFolder&) = delete;
  ModelFolder& operator=(const ModelFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class ServerProcess {
 public:
  // Waits until the server says its address.
  static Result<ServerProcess> start(const std::string& program, std::vector<std::string> arguments);
  ServerProcess(ServerProcess&& other) noexcept;
  ~ServerProcess();  // kills what still runs

  const bench::ServerUrl& url() const { return url_; }
  // SIGTERM; the exit code, or 128 + the signal that ended it, or -1 if it still ran after `seconds`.
  int stop(double seconds);

  double cpu_seconds() const;  // of all its threads so far
  int64_t descriptors() const;
  int64_t threads() const;
  // Memory that is the process's own: what it has written, resident or swapped out. Pages of mapped files come and go as the system
  // likes.
  int64_t own_bytes() const;

 private:
  ServerProcess(pid_t pid, FILE* output, bench::ServerUrl url) : pid_(pid), output_(output), url_(std::move(url)) {}
  std::string proc(const char* name) const { return "/proc/" + std::to_string(pid_) + "/" + name; }

  pid_t pid_;
  FILE* output_;
  bench::ServerUrl url_;
};

}  // namespace sluice::soak
