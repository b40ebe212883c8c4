#include "base/cpu_features.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <set>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace sluice {
namespace {

#if defined(__x86_64__)
struct Regs {
  uint32_t a = 0, b = 0, c = 0, d = 0;
};

Regs cpuid(uint32_t leaf, uint32_t sub = 0) {
  Regs r;
  __get_cpuid_count(leaf, sub, &r.a, &r.b, &r.c, &r.d);
  return r;
}

bool bit(uint32_t word, int n) { return (word >> n) & 1; }

// XCR0: which register files the operating system saves.
uint64_t saved_register_files() {
  uint32_t lo, hi;
  __asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return (uint64_t(hi) << 32) | lo;
}

// Linux hands out the 8 KiB of tile state only to processes that ask (arch_prctl, since 5.16).
bool request_amx_tiles() {
  constexpr long kArchReqXcompPerm = 0x1023, kXfeatureXtiledata = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureXtiledata) == 0;
}

std::string read_brand() {
  if (cpuid(0x80000000).a < 0x80000004) return "x86-64";
  std::string s;
  for (uint32_t leaf = 0x80000002; leaf <= 0x80000004; ++leaf) {
    const Regs r = cpuid(leaf);
    for (uint32_t word : {r.a, r.b, r.c, r.d})
      for (int i = 0; i < 4; ++i)
        if (const char c = char(word >> (8 * i)); c != 0) s += c;
  }
  return s.substr(0, s.find_last_not_of(' ') + 1);
}
#endif

int count_physical_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
  std::set<std::string> cores;  // one entry a core: the list of hardware threads that share it
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    std::ifstream f("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
    std::string siblings;
    if (!std::getline(f, siblings)) siblings = "cpu" + std::to_string(cpu);
    cores.insert(siblings);
  }
  return std::max<int>(1, int(cores.size()));
}

}  // namespace

CpuFeatures detect_cpu_features() {
  CpuFeatures f;
  f.physical_cores = count_physical_cores();
#if defined(__x86_64__)
  f.brand = read_brand();
  const Regs l1 = cpuid(1), l7 = cpuid(7), l7s1 = cpuid(7, 1);
  if (!bit(l1.c, 27)) return f;  // no OSXSAVE: nothing beyond SSE is usable
  const uint64_t saved = saved_register_files();
  const bool os_avx = (saved & 0x6) == 0x6, os_avx512 = (saved & 0xe6) == 0xe6, os_amx = (saved & 0x60000) == 0x60000;
  f.avx2 = os_avx && bit(l7.b, 5) && bit(l1.c, 12) && bit(l1.c, 28);
  f.avx512 = f.avx2 && os_avx512 && bit(l7.b, 16) && bit(l7.b, 17) && bit(l7.b, 30) && bit(l7.b, 31);
  f.avx512_vnni = f.avx512 && bit(l7.c, 11);
  f.avx512_bf16 = f.avx512 && bit(l7s1.a, 5);
  f.amx_bf16 = f.avx512_bf16 && os_amx && bit(l7.d, 24) && bit(l7.d, 22) && request_amx_tiles();
#endif
  return f;
}

}  // namespace sluice
