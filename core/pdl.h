// Programmatic dependent launch (PDL): a kernel may be placed on the GPU while the one before it on the stream ends, and waits
// there until that one's writes are seen. What is asked for by SLUICE_PDL, what a device can do, and what a launch does where the
// driver refuses. core/cuda/launch.h launches; docs/architecture.md has the rules that kernels keep.
#pragma once

#include <string_view>

#include "core/context.h"
#include "core/impl.h"

namespace sluice {

// Whether a device starts kernels that way. Null: the CPU.
inline Can starts_early(const Gpu* gpu) {
  if (!gpu) return Can::no("it is of GPUs");
  return gpu->major >= 9 ? Can{} : Can::no("this GPU is older than compute capability 9.0");
}

// An operator that the user names must exist.
Status check_pdl_choice(const PdlChoice& choice, const std::vector<OpInfo>& ops);

inline constexpr char kPdlOp[] = "launches", kPdlInstead[] = "plain", kPdlRefused[] = "the driver refused it";

enum class Launched : unsigned char { kYes, kRefused, kFailed };

// Launches by `launch(dependent)`: with the attribute where it is wanted, and without it where the driver refuses that, from then
// on. Counts each call that was refused its wish.
template <class Launch>
Launched launch_as_asked(const Context& ctx, bool wanted, bool& refused, Launch&& launch) {
  if (!wanted) return launch(false);
  if (!refused) {
    const Launched l = launch(true);
    if (l != Launched::kRefused) return l;
  }
  const Launched plain = launch(false);
  refused = refused || plain == Launched::kYes;  // else it was not the attribute that was refused
  if (plain == Launched::kYes) count_fallback(ctx, kPdlOp, ImplChoice("programmatic dependent launch"), kPdlInstead, kPdlRefused);
  return plain;
}

}  // namespace sluice
