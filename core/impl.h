// An operator's implementations: an ordered list, the first that can run is taken, and every refusal has a reason.
#pragma once

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "core/context.h"

namespace sluice {

// Yes, or a constant text that says why not.
struct Can {
  const char* refusal = nullptr;
  constexpr bool yes() const { return refusal == nullptr; }
  static constexpr Can no(const char* why) { return {why}; }
};

// What a machine must have: a CPU's instruction set, or a GPU's architecture.
enum class Isa : unsigned char {
  kAny,
  kAvx2,
  kAvx512,
  kAvx512Vnni,
  kAvx512Bf16,
  kAvx512FastBf16,
  kAmxBf16,
  kCuda,
  kSm90a,
  kSm100a
};

constexpr bool is_gpu(Isa isa) { return isa >= Isa::kCuda; }

inline Can cpu_has(const CpuFeatures& cpu, Isa isa) {
  switch (isa) {
    case Isa::kAvx2:
      return cpu.avx2 ? Can{} : Can::no("this CPU has no AVX2 with FMA and F16C, or SLUICE_ISA leaves it out");
    case Isa::kAvx512:
      return cpu.avx512 ? Can{} : Can::no("this CPU has no AVX-512 F/BW/VL/DQ, or SLUICE_ISA leaves it out");
    case Isa::kAvx512Vnni:
      return cpu.avx512_vnni ? Can{} : Can::no("this CPU has no AVX-512 VNNI, or SLUICE_ISA leaves it out");
    case Isa::kAvx512Bf16:
      return cpu.avx512_bf16 ? Can{} : Can::no("this CPU has no AVX-512 bf16 dot product, or SLUICE_ISA leaves it out");
    case Isa::kAvx512FastBf16:
      if (!cpu.avx512_bf16) return cpu_has(cpu, Isa::kAvx512Bf16);
      return cpu.fast_bf16 ? Can{} : Can::no("an AVX-512 bf16 dot product takes this CPU as long as two FMAs");
    case Isa::kAmxBf16:
      return cpu.amx_bf16 ? Can{}
                          : Can::no("this CPU has no AMX bf16 tiles, the kernel refused them, or SLUICE_ISA leaves them out");
    default:
      return is_gpu(isa) ? Can::no("it runs on a GPU, and the tensors are on the CPU") : Can{};
  }
}

inline Can gpu_has(const Gpu& gpu, Isa isa) {
  switch (isa) {
    case Isa::kSm90a:
      return gpu.major == 9 ? Can{} : Can::no("this GPU is not of compute capability 9.0");
    case Isa::kSm100a:
      if (gpu.major != 10 || (gpu.minor != 0 && gpu.minor != 3))
        return Can::no("this GPU is not of compute capability 10.0 or 10.3");
      if (gpu.cuda_version == 0) return Can::no("it needs a build with CUDA 13.0, and this build's CUDA version is unknown");
      return gpu.cuda_version >= 13000 ? Can{} : Can::no("it needs a build with CUDA 13.0, and this build had an older one");
    default:
      return gpu.major >= 8 ? Can{} : Can::no("this GPU is older than compute capability 8.0");
  }
}

// Whether a context on this machine can run such code. `gpu` is null where the tensors are on the CPU.
inline Can machine_has(const CpuFeatures& cpu, const Gpu* gpu, Isa isa) {
  if (!gpu) return cpu_has(cpu, isa);
  return is_gpu(isa) ? gpu_has(*gpu, isa) : Can::no("it runs on the CPU, and the tensors are on a GPU");
}

// A kernel's entry in a list of implementations; null in a build without that architecture, so that every build has the same list.
// CMake defines SLUICE_HAS_CUDA (portable kernels), SLUICE_HAS_SM90 and SLUICE_HAS_SM100;
// SLUICE_HAS_CUBLASLT where the toolkit has its header.
#if SLUICE_HAS_CUDA
#define SLUICE_CUDA_FORM(function) function
#else
#define SLUICE_CUDA_FORM(function) nullptr
#endif
#if SLUICE_HAS_CUBLASLT
#define SLUICE_CUBLASLT_FORM(function) function
#else
#define SLUICE_CUBLASLT_FORM(function) nullptr
#endif
#if SLUICE_HAS_SM90
#define SLUICE_SM90_FORM(function) function
#else
#define SLUICE_SM90_FORM(function) nullptr
#endif
#if SLUICE_HAS_SM100
#define SLUICE_SM100_FORM(function) function
#else
#define SLUICE_SM100_FORM(function) nullptr
#endif

class Tiles;

template <class Args>
struct Impl {
  const char* name;  // "reference", "cpu", "avx2", "avx512", "portable", "sm90", ...
  Isa isa = Isa::kAny;
  // Whether these arguments are served; null means all that pass the operator's check().
  Can (*can)(const Args&) = nullptr;
  // Bytes of scratch for one call, in the device's memory; null means none. 256-byte aligned.
  size_t (*workspace)(const Context&, const Args&) = nullptr;
  Status (*run)(Context&, const Args&, std::byte* scratch) = nullptr;  // null: not in this build
  // The tiles that serve these arguments (core/tile.h); null where there is but one.
  Tiles (*tiles)(const Args&) = nullptr;
  // Known to give a row of the output other bits in one batch than in another. So far only matmul's forms are marked.
  bool by_batch = false;
};

template <class Args>
Can can_run(const Impl<Args>& impl, const Context& ctx, const Args& args) {
  if (const Can c = machine_has(*ctx.cpu, ctx.gpu, impl.isa); !c.yes()) return c;
  if (!impl.run) return Can::no("this build has no kernels for it");
  return impl.can ? impl.can(args) : Can{};
}

template <class Args>
Status run_impl(const Impl<Args>& impl, Context& ctx, const Args& args) {
  if (!impl.workspace) return impl.run(ctx, args, nullptr);
  ArenaScope scope(*ctx.arena);
  const size_t bytes = impl.workspace(ctx, args);
  auto* scratch = static_cast<std::byte*>(ctx.arena->allocate(bytes));
  if (!scratch)
    return {Code::kResourceExhausted, std::string(impl.name) + " needs " + std::to_string(bytes) + " bytes of workspace",
            "use a smaller --prefill-chunk"};
  return impl.run(ctx, args, scratch);
}

// Whether a form is what was chosen: the one of that name, or, for a flag's choice, one of its family, as portable_mma is of
// portable.
inline bool is_choice(const ImplChoice& choice, std::string_view form) {
  if (choice.strict || !form.starts_with(choice.impl) || form.size() == choice.impl.size()) return form == choice.impl;
  return form[choice.impl.size()] == '_';
}

// Counts a call that `choice` could not serve. Only the first of its kind allocates.
inline void count_fallback(const Context& ctx, const char* op, const ImplChoice& choice, const char* ran, const char* reason) {
  if (!ctx.fallbacks) return;
  for (Fallback& f : *ctx.fallbacks)
    if (f.op == op && f.ran == ran && f.reason == reason) return void(++f.calls);
  ctx.fallbacks->push_back({.op = op, .ran = ran, .reason = reason, .wanted = choice.impl, .calls = 1});
}

// The implementation these arguments get: the one that was chosen, or the first in the list that can.
template <class Args>
Result<const Impl<Args>*> choose_impl(const char* op, std::span<const Impl<Args>> impls, const Context& ctx, const Args& args) {
  const auto choice = ctx.forced->find(std::string_view(op));
  const char* passed_on = nullptr;  // why the choice does not serve this call
  if (choice != ctx.forced->end()) {
    for (const auto& impl : impls) {
      if (!is_choice(choice->second, impl.name)) continue;
      const Can c = can_run(impl, ctx, args);
      if (c.yes()) return &impl;
      passed_on = c.refusal;
    }
    const auto& [wanted, strict] = choice->second;
    if (strict && passed_on)
      return Status(Code::kUnsupported, std::string(op) + ": implementation '" + wanted + "' was asked for, but " + passed_on);
    if (strict)
      return Status(Code::kInvalidArgument, std::string(op) + ": no implementation is called '" + wanted + "'",
                    "`sluice doctor --ops` lists them");
    if (!passed_on) passed_on = "it has no form of that name";
  }
  const char* last = "it has no implementation";
  for (const auto& impl : impls) {
    const Can c = can_run(impl, ctx, args);
    if (c.yes()) {
      if (passed_on) count_fallback(ctx, op, choice->second, impl.name, passed_on);
      return &impl;
    }
    last = c.refusal;
  }
  return Status(Code::kUnsupported, std::string(op) + ": no implementation serves this call: " + last);
}

// While it lives, the context's launches are what SLUICE_PDL says of an operator.
class PdlScope {
 public:
  PdlScope(Context& ctx, std::string_view op) : ctx_(ctx), before_(ctx.dependent_launch) {
    ctx.dependent_launch = before_ && (!ctx.pdl || ctx.pdl->allows(op));
  }
  ~PdlScope() { ctx_.dependent_launch = before_; }
  PdlScope(const PdlScope&) = delete;
  PdlScope& operator=(const PdlScope&) = delete;

 private:
  Context& ctx_;
  bool before_;
};

// The body of every operator's entry function.
template <class Args>
Status dispatch(const char* op, std::span<const Impl<Args>> impls, Status (*check)(const Args&), Context& ctx, const Args& args) {
  SLUICE_RETURN_IF_ERROR(check(args));
  SLUICE_ASSIGN_OR_RETURN(const Impl<Args>* impl, choose_impl(op, impls, ctx, args));
  const PdlScope pdl(ctx, op);
  return run_impl(*impl, ctx, args);
}

// Arguments whose contract header names their tensors, in each_tensor(), for the way to a GPU.
template <class Args>
concept GpuArgs = requires(Args& a) {
  each_tensor(a, [](Tensor&, GpuLayout = GpuLayout::kAsIs) {});
};

// An operator without its argument type, for listings.
struct ImplInfo {
  const char* name;
  Isa isa;
  bool built;
  bool tiled;  // has tiles to choose among
};
struct OpInfo {
  const char* name;
  std::vector<ImplInfo> impls;  // in order of preference
};

template <class Args>
OpInfo describe_op(const char* name, std::span<const Impl<Args>> impls) {
  OpInfo info{name, {}};
  for (const auto& i : impls) info.impls.push_back({i.name, i.isa, i.run != nullptr, i.tiles != nullptr});
  return info;
}

// All operators of this build, in alphabetical order. Written by CMake from the folders in ops/.
std::vector<OpInfo> all_ops();

}  // namespace sluice
