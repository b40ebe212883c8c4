#include "base/machine.h"

#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace sluice {
namespace {

TEST(Machine, IsReadFromTheKernelsFiles) {
  const testing::TempDir root;
  root.write("proc/cpuinfo", "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx avx2 fma f16c avx512f amx_tile\n");
  root.write("proc/meminfo",
             "MemTotal:       16000 kB\nMemAvailable:    9000 kB\nHugePages_Total:       3\nHugepagesize:       2048 kB\n");
  root.write("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
  root.write("sys/devices/system/node/online", "0-1,3\n");
  const auto write_cache = [&](const std::string& index, const char* level, const char* type, const char* size,
                               const char* shared) {
    const std::string folder = "sys/devices/system/cpu/cpu0/cache/" + index + "/";
    root.write(folder + "level", level), root.write(folder + "type", type);
    root.write(folder + "size", size), root.write(folder + "shared_cpu_list", shared);
  };
  write_cache("index0", "1", "Data", "48K", "0");
  write_cache("index1", "3", "Unified", "32M", "0-3,8-11");
  const Machine m = read_machine(root.root());
  std::string there;
  for (const Instructions& i : m.instructions)
    if (i.there) there += i.name + " ";
  EXPECT_EQ(there, "avx f16c fma avx2 avx512f amx_tile ");
  EXPECT_EQ(m.memory_bytes, 16000 << 10);
  EXPECT_EQ(m.available_bytes, 9000 << 10);
  EXPECT_EQ(m.transparent_huge_pages, "madvise");
  EXPECT_EQ(m.huge_pages, 3);
  EXPECT_EQ(m.huge_page_bytes, 2 << 20);
  EXPECT_EQ(m.numa_nodes, 3);
  ASSERT_EQ(m.caches.size(), 2u);
  EXPECT_EQ(m.caches[0].bytes, 48 << 10);
  EXPECT_EQ(m.caches[1].type, "Unified");
  EXPECT_EQ(m.caches[1].threads, 8);
  EXPECT_GE(largest_cache(m), 32 << 20);
}

TEST(Machine, WhatIsNotThereIsLeftOut) {
  const testing::TempDir root;
  const Machine m = read_machine(root.root());
  EXPECT_TRUE(m.caches.empty());
  EXPECT_EQ(m.memory_bytes, 0);
  EXPECT_EQ(largest_cache(m), 0);
}

TEST(Machine, LinesThatSayNothingAreZeroOrEmpty) {
  const testing::TempDir root;
  root.write("proc/meminfo", "no colon\n: 5 kB\nMemTotal:\nMemAvailable: many\nHugepagesize: 2048 kB\n");
  for (const char* line : {"always never", "[always", "always]"}) {
    root.write("sys/kernel/mm/transparent_hugepage/enabled", line);
    const Machine m = read_machine(root.root());
    EXPECT_EQ(m.transparent_huge_pages, "") << line;
    EXPECT_EQ(m.memory_bytes, 0);
    EXPECT_EQ(m.available_bytes, 0);
    EXPECT_EQ(m.huge_page_bytes, 2 << 20);
  }
}

TEST(Machine, LargestCacheCountsAllOfAKind) {
  EXPECT_EQ(largest_cache({.caches = {{3, "Unified", 16 << 20, 0}}, .threads = 8}), 16 << 20);  // shared by nobody knows how many
  const Machine two_l3{.caches = {{1, "Data", 32 << 10, 1}, {3, "Unified", 16 << 20, 4}}, .threads = 8};
  EXPECT_EQ(largest_cache(two_l3), 32 << 20);
}

}  // namespace
}  // namespace sluice
