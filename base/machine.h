// What the operating system says of this machine: instructions, caches, memory. For people; what is used is base/cpu_features.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

struct Cache {
  int level = 0;
  std::string type;   // Data, Instruction, Unified
  int64_t bytes = 0;  // of one
  int threads = 0;    // hardware threads that share one
};

struct Instructions {
  std::string name;  // as Linux writes it: avx512_vnni
  bool there = false;
};

struct Machine {
  std::vector<Instructions> instructions;  // those that matter to an inference engine, in order of age
  std::vector<Cache> caches;               // of the first core
  int threads = 0;                         // hardware threads that this process may run on
  int numa_nodes = 0;
  int64_t memory_bytes = 0, available_bytes = 0;
  std::string transparent_huge_pages;           // always, madvise or never; empty: the kernel has none
  int64_t huge_pages = 0, huge_page_bytes = 0;  // set aside
};

// `root` has proc/ and sys/; another one than "/" is for tests. What a file does not say stays 0 or empty.
Machine read_machine(const std::string& root = "/");

// The bytes of the largest cache, all of one kind that the machine has one of counted once.
int64_t largest_cache(const Machine& machine);

}  // namespace sluice
