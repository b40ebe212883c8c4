#include "server/process_stats.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <sstream>
#include <string>

namespace sluice {
namespace {

// Numbers of /proc/self/stat from its third field on; the second, the program's name, may hold spaces and brackets.
std::vector<double> stat_fields() {
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  const size_t name_end = line.rfind(')');
  std::vector<double> fields;
  if (name_end == std::string::npos || name_end + 4 > line.size()) return fields;
  std::istringstream rest(line.substr(name_end + 4));  // behind ") S ": the third field is a letter
  for (double v = 0; rest >> v;) fields.push_back(v);
  return fields;
}

// Seconds since 1970 when the machine started.
double boot_time() {
  std::ifstream file("/proc/stat");
  for (std::string word; file >> word;)
    if (double at = 0; word == "btime" && file >> at) return at;
  return 0;
}

int64_t open_descriptors() {
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir("/proc/self/fd"), ::closedir);
  if (!dir) return -1;
  int64_t n = -3;  // ".", ".." and the one that reads them
  while (::readdir(dir.get())) ++n;
  return n;
}

}  // namespace

void append_process_stats(Exposition& out) {
  // proc(5) counts fields from 1; the first of these is field 4.
  const std::vector<double> fields = stat_fields();
  const auto field = [&](size_t number) { return fields[number - 4]; };
  const double ticks = double(::sysconf(_SC_CLK_TCK));
  if (fields.size() > 20 && ticks > 0) {
    out.family("process_cpu_seconds_total", "counter", "CPU time of all threads, in user and system mode.");
    out.sample({}, (field(14) + field(15)) / ticks);
    out.family("process_virtual_memory_bytes", "gauge", "Address space; the pools reserve more of it than they ever use.");
    out.sample({}, int64_t(field(23)));
    out.family("process_resident_memory_bytes", "gauge", "Memory in use, mapped weights included.");
    out.sample({}, int64_t(field(24)) * int64_t(::sysconf(_SC_PAGESIZE)));
    if (const double boot = boot_time(); boot > 0) {
      out.family("process_start_time_seconds", "gauge", "When the process started, in seconds since 1970.");
      out.sample({}, boot + field(22) / ticks);
    }
  }
  if (const int64_t n = open_descriptors(); n >= 0) {
    out.family("process_open_fds", "gauge", "Open file descriptors.");
    out.sample({}, n);
  }
  if (rlimit limit{}; ::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    out.family("process_max_fds", "gauge", "File descriptors that the process may have.");
    out.sample({}, int64_t(limit.rlim_cur));
  }
}

}  // namespace sluice
