// Quantisation.
#include "op_runner/op_runner.h"

namespace sluice {

std::vector<OpAdapter> quant_adapters() { return {}; }

}  // namespace sluice
