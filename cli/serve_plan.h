// How much memory `sluice serve` gives to state and keys where no flag says it.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "cli/command.h"

namespace sluice::cli {

// Fills what is 0: state slots for the running requests and as many snapshots again, and for keys and values a part of the memory
// that is free, at least one sequence at full length.
Result<Capacity> plan_capacity(const ModelOptions& o, Capacity wanted);

// Bytes that this process may still take: of the machine, or of its control group.
int64_t available_memory();

// "weights 12 MiB, state 34 MiB (64 slots), keys and values 1.2 GiB (98304 tokens)"
std::string describe_memory(Engine& engine);

}  // namespace sluice::cli
