// Several processes that run one model together, started by mpirun.
#pragma once

#include <memory>

#include "cli/command.h"
#include "core/group.h"

namespace sluice::cli {

// This process among those that mpirun started. Once a process.
Result<std::unique_ptr<Ranks>> join_ranks();

// A subcommand that has --tp: rank 0 runs it, and the others compute with its engine, which finds them in the options.
Command among_ranks(ModelOptions& o, Command command);

}  // namespace sluice::cli
