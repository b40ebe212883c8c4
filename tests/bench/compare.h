// Outputs of two forms, element by element.
#pragma once

#include <span>
#include <vector>

#include "base/status.h"
#include "core/tensor.h"

namespace sluice::benching {

// A tensor's contents on the host, in the strides that it has where it lives.
struct HostCopy {
  std::vector<std::byte> bytes;
  Tensor tensor;  // over them
};

Result<std::vector<HostCopy>> copy_to_host(std::span<const Tensor> tensors);

// ||got - want|| / ||want||, the largest over the tensors, over as much of dimension 0 as `want` has; infinite where one holds
// something that is not finite.
double difference(std::span<const HostCopy> got, std::span<const HostCopy> want);

}  // namespace sluice::benching
