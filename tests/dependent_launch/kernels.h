// The kernels of a chain that catches those that do not wait for the kernel before them (rule P11 of what is known of programmatic
// dependent launch: a sanitizer's clean run is no evidence, only order made visible is).
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/context.h"

namespace sluice::dependent_launch {

// Some of the memory under test, and where it lies in `before` and `after`, which hold all of it one piece behind the other.
struct Piece {
  std::byte* at;
  size_t bytes, offset;
};

// What a replay is told and what it finds; in the GPU's memory.
struct Log {
  uint32_t replay = 0;  // its number
  uint32_t late = 0;    // the number that the slow kernel of this replay wrote
  uint32_t early = 0;   // bytes that were written while the slow kernel still read
  uint32_t missed = 0;  // times that the last kernel ran before the slow one had ended
  uint32_t wrong = 0;   // bytes that are not those of plain launches
};

struct Memory {
  const Piece* pieces = nullptr;
  int count = 0;
  const std::byte *before = nullptr, *after = nullptr;  // all of it ahead of the call under test, and behind it
  Log* log = nullptr;
};

// Poisons the memory: floats are -4e28 and integers negative.
Status poison(const Context& ctx, const Memory& m);
// Lets the next kernel start at once, sleeps, finds out who wrote meanwhile, and only then writes `before` into the memory, and
// `late`.
Status slow_kernel(const Context& ctx, const Memory& m);
// Compares the memory with `after`, and `late` with this replay's number.
// It may be broken too, and not wait.
Status last_kernel(const Context& ctx, const Memory& m, bool waits = true);
Status count_replay(const Context& ctx, const Memory& m);

// Kernels under test: y = x + 1 over n words. The first does it right, the others break a rule each.
enum class Copy : unsigned char { kWaits, kReadsEarly, kWritesEarly, kNeverWaits };
Status run_copy(const Context& ctx, Copy how, const uint32_t* x, uint32_t* y, int n);

}  // namespace sluice::dependent_launch
