// Operators of multi-head latent attention: caches, rope with quantisation, absorbed and sparse attention.
#include "op_runner/op_runner.h"

namespace sluice {

std::vector<OpAdapter> mla_adapters() { return {}; }

}  // namespace sluice
