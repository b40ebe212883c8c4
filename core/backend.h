// Which form of the gated delta operators runs: the flags --linear-attn-backend, --linear-attn-prefill-backend and
// --linear-attn-decode-backend, resolved against a device. Pure: tests make devices up.
//
//   auto                  the first form in each operator's list that serves the call
//   portable, sm90, sm100 the GPU form of that name; refused at start where the device or the build cannot run it
//   reference             the formula in fp64, on the CPU
//   triton                portable
//   flashinfer, cutedsl   the form tuned for the device; portable, with a warning, where there is none
//
// A call that the chosen form cannot serve, such as head dims it has no tiles for, goes on down the operator's list and is counted
// in Context::fallbacks. Decode covers verification too.
#pragma once

#include <string>
#include <vector>

#include "base/environment.h"
#include "core/device.h"
#include "core/gpu.h"

namespace sluice {

inline constexpr const char* kBackends[] = {"auto", "portable", "sm90", "sm100", "reference", "triton", "flashinfer", "cutedsl"};

struct BackendFlags {
  std::string both = "auto", prefill, decode;  // the latter two empty: as `both`
};

struct BackendPlan {
  std::string prefill, decode;  // names of forms; "auto" on the CPU
  ImplChoices choices;
  std::vector<std::string> warnings;  // each once
};

// `gpu` is null on the CPU.
Result<BackendPlan> choose_backends(const BackendFlags& flags, const Gpu* gpu);

// --batch-invariant: adds to `choices`, for every operator of a model whose forms differ, the form that gives a row the same bits
// in any batch and however its sequence is cut into steps. Another form that was chosen there is refused. On the CPU all forms do.
Status choose_invariant_forms(Device device, ImplChoices& choices);

// "13.0", or "unknown".
std::string cuda_version_text(int version);

}  // namespace sluice
