// A group of GPUs of one machine, one a process: sums by a kernel of ours where a tensor is small, as those of a decoding step are,
// and the rest by NCCL, which is loaded when it is first asked for.
#pragma once

#include <memory>

#include "core/group.h"

namespace sluice::cuda {

Result<std::unique_ptr<Group>> make_group(Ranks& ranks, Context& ctx);

}  // namespace sluice::cuda
