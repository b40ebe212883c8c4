// The sparse-attention indexer.
#include "op_runner/op_runner.h"
#include "ops/hadamard/hadamard.h"

namespace sluice {
namespace {

Status run_hadamard(OpCall& call) {
  SLUICE_NEED(x, "x");
  const Tensor y = x.rank == 3 ? call.output("y", call.dtype(), {x.dim(0), x.dim(1), x.dim(2)})
                               : call.output("y", call.dtype(), {x.dim(0), x.dim(1)});
  return call.run(hadamard, {.x = x, .y = y});
}

}  // namespace

std::vector<OpAdapter> dsa_adapters() {
  return {
      {"hadamard", "hadamard", run_hadamard, {}},
  };
}

}  // namespace sluice
