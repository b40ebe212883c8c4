// poison -> slow kernel -> the call under test -> last kernel, as a graph that is replayed, and a tenth as often launch by launch;
// each but the first two may start early.
#pragma once

#include <functional>
#include <span>

#include "tests/dependent_launch/kernels.h"

namespace sluice::dependent_launch {

struct Span {
  std::byte* at;
  size_t bytes;
};

// Runs the chain and tells what the kernels found. `work` is all memory that `call` reads and writes, with the
// contents that it wants; the right results are those of one call by plain launches.
Result<Log> run_chain(Context ctx, std::span<const Span> work, const std::function<Status(Context&)>& call, int replays,
                      bool last_waits = true);

}  // namespace sluice::dependent_launch
