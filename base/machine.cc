#include "base/machine.h"

#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr const char* kInstructions[] = {"avx",         "f16c",     "fma",      "avx2",        "avx512f",
                                         "avx512dq",    "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
                                         "avx512_fp16", "avx_vnni", "amx_tile", "amx_int8",    "amx_bf16"};

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// "32K", "1024K", "32M", "48"; 0 where there is no number.
int64_t size_of(const std::string& text) {
  std::istringstream in(text);
  int64_t n = 0;
  char unit = 0;
  in >> n >> unit;
  return unit == 'K' ? n << 10 : unit == 'M' ? n << 20 : n;
}

// How many numbers are in "0-3,8,10-11".
int count_of(const std::string& list) {
  std::istringstream in(list);
  int count = 0;
  for (std::string part; std::getline(in, part, ',');) {
    const size_t dash = part.find('-');
    count += dash == std::string::npos ? 1 : int(size_of(part.substr(dash + 1)) - size_of(part)) + 1;
  }
  return count;
}

// The value of a line "key : value" or "key: value".
std::string field(const fs::path& path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos || line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1) != key) continue;
    const size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return {};
}

int64_t kilobytes(const fs::path& path, std::string_view key) { return size_of(field(path, key)) << 10; }

std::vector<Cache> read_caches(const fs::path& folder) {
  std::vector<Cache> caches;
  for (int i = 0;; ++i) {
    const fs::path index = folder / ("index" + std::to_string(i));
    const Cache c{.level = int(size_of(first_line(index / "level"))),
                  .type = first_line(index / "type"),
                  .bytes = size_of(first_line(index / "size")),
                  .threads = count_of(first_line(index / "shared_cpu_list"))};
    if (c.level == 0) return caches;
    caches.push_back(c);
  }
}

// "always [madvise] never"
std::string bracketed(const std::string& line) {
  const size_t begin = line.find('['), end = line.find(']');
  return begin == std::string::npos || end == std::string::npos ? "" : line.substr(begin + 1, end - begin - 1);
}

int allowed_threads() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  return sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
}

}  // namespace

Machine read_machine(const std::string& root) {
  const fs::path proc = fs::path(root) / "proc", sys = fs::path(root) / "sys";
  Machine m{.caches = read_caches(sys / "devices/system/cpu/cpu0/cache"),
            .threads = allowed_threads(),
            .numa_nodes = count_of(first_line(sys / "devices/system/node/online")),
            .memory_bytes = kilobytes(proc / "meminfo", "MemTotal"),
            .available_bytes = kilobytes(proc / "meminfo", "MemAvailable"),
            .transparent_huge_pages = bracketed(first_line(sys / "kernel/mm/transparent_hugepage/enabled")),
            .huge_pages = size_of(field(proc / "meminfo", "HugePages_Total")),
            .huge_page_bytes = kilobytes(proc / "meminfo", "Hugepagesize")};
  const std::string flags = " " + field(proc / "cpuinfo", "flags") + " ";
  for (const char* name : kInstructions)
    m.instructions.push_back({name, flags.find(" " + std::string(name) + " ") != std::string::npos});
  return m;
}

int64_t largest_cache(const Machine& machine) {
  int64_t bytes = 0;
  for (const Cache& c : machine.caches) {
    const int copies = c.threads > 0 ? std::max(1, machine.threads / c.threads) : 1;
    bytes = std::max(bytes, c.bytes * copies);
  }
  return bytes;
}

}  // namespace sluice
