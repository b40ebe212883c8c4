// Routing to experts.
#include "op_runner/op_runner.h"

namespace sluice {

std::vector<OpAdapter> moe_adapters() { return {}; }

}  // namespace sluice
