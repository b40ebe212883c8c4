#include "base/cpu_features.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "base/cpuid.h"

namespace sluice {
namespace {

template <class... Bits>
constexpr uint32_t mask(Bits... bits) {
  return ((uint32_t(1) << bits) | ...);
}

bool all(uint64_t word, uint64_t wanted) { return (word & wanted) == wanted; }

#if defined(__x86_64__)
struct Regs {
  uint32_t a = 0, b = 0, c = 0, d = 0;
};

Regs cpuid(uint32_t leaf, uint32_t sub = 0) {
  Regs r;
  __get_cpuid_count(leaf, sub, &r.a, &r.b, &r.c, &r.d);
  return r;
}

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

CpuidAnswers ask() {
  const Regs l1 = cpuid(1), l7 = cpuid(7), l7s1 = cpuid(7, 1);
  const bool has_xgetbv = l1.c & mask(27);
  return {cpuid(0).b, l1.c, l7.b, l7.c, l7.d, l7s1.a, has_xgetbv ? saved_register_files() : 0};
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

CpuFeatures features_of(const CpuidAnswers& a) {
  constexpr uint64_t kAvx = 0x6, kAvx512 = 0xe6, kTiles = 0x60000;
  constexpr uint32_t kAmd = 0x68747541;  // "Auth" of AuthenticAMD
  CpuFeatures f;
  f.avx2 = all(a.saved, kAvx) && all(a.leaf7_ebx, mask(5)) && all(a.leaf1_ecx, mask(12, 28, 29));
  f.avx512 = f.avx2 && all(a.saved, kAvx512) && all(a.leaf7_ebx, mask(16, 17, 30, 31));
  f.avx512_vnni = f.avx512 && all(a.leaf7_ecx, mask(11));
  f.avx512_bf16 = f.avx512_vnni && all(a.leaf7_1_eax, mask(5));
  f.fast_bf16 = f.avx512_bf16 && a.leaf0_ebx == kAmd;  // Intel's cores have two FMAs a cycle and one vdpbf16ps
  f.amx_bf16 = f.avx512_bf16 && all(a.saved, kTiles) && all(a.leaf7_edx, mask(22, 24));
  return f;
}

CpuFeatures detect_cpu_features() {
  CpuFeatures f;
#if defined(__x86_64__)
  f = features_of(ask());
  f.amx_bf16 = f.amx_bf16 && request_amx_tiles();
  f.brand = read_brand();
#endif
  f.physical_cores = count_physical_cores();
  return f;
}

}  // namespace sluice
