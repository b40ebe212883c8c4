// The sparse-attention indexer.
#include "op_runner/op_runner.h"

namespace sluice {

std::vector<OpAdapter> dsa_adapters() { return {}; }

}  // namespace sluice
