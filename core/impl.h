// An operator's implementations: an ordered list, the first that can run is taken, and every refusal has a reason.
#pragma once

#include <cstring>
#include <span>
#include <string>
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

// What a machine must have. Used by can() and, without arguments at hand, by `sluice doctor --ops`.
enum class Isa : unsigned char { kAny, kAvx512, kAvx512Bf16, kAmxBf16 };

inline Can cpu_has(const CpuFeatures& cpu, Isa isa) {
  switch (isa) {
    case Isa::kAny: return {};
    case Isa::kAvx512: return cpu.avx512 ? Can{} : Can::no("this CPU has no AVX-512 F/BW/VL/DQ");
    case Isa::kAvx512Bf16: return cpu.avx512_bf16 ? Can{} : Can::no("this CPU has no AVX-512 bf16 dot product");
    case Isa::kAmxBf16: return cpu.amx_bf16 ? Can{} : Can::no("this CPU has no AMX bf16 tiles, or the kernel refused them");
  }
  return {};
}

template <class Args>
struct Impl {
  const char* name;  // "reference", "cpu", "avx512", ...
  Isa isa = Isa::kAny;
  // Whether these arguments are served; null means all that pass the operator's check().
  Can (*can)(const Args&) = nullptr;
  // Bytes of scratch for one call; null means none. 64-byte aligned.
  size_t (*workspace)(const Context&, const Args&) = nullptr;
  Status (*run)(Context&, const Args&, std::byte* scratch) = nullptr;
};

template <class Args>
Can can_run(const Impl<Args>& impl, const Context& ctx, const Args& args) {
  if (const Can c = cpu_has(*ctx.cpu, impl.isa); !c.yes()) return c;
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

// The implementation these arguments get: the forced one, or the first in the list that can.
template <class Args>
Result<const Impl<Args>*> choose_impl(const char* op, std::span<const Impl<Args>> impls, const Context& ctx, const Args& args) {
  if (!ctx.forced->empty()) {
    if (const auto it = ctx.forced->find(op); it != ctx.forced->end()) {
      for (const auto& impl : impls) {
        if (it->second != impl.name) continue;
        if (const Can c = can_run(impl, ctx, args); !c.yes())
          return Status(Code::kUnsupported, std::string(op) + ": implementation '" + impl.name + "' was asked for, but " + c.refusal);
        return &impl;
      }
      return Status(Code::kInvalidArgument, std::string(op) + ": no implementation is called '" + it->second + "'",
                    "`sluice doctor --ops` lists them");
    }
  }
  const char* last = "it has no implementation";
  for (const auto& impl : impls) {
    const Can c = can_run(impl, ctx, args);
    if (c.yes()) return &impl;
    last = c.refusal;
  }
  return Status(Code::kUnsupported, std::string(op) + ": no implementation serves this call: " + last);
}

// The body of every operator's entry function.
template <class Args>
Status dispatch(const char* op, std::span<const Impl<Args>> impls, Status (*check)(const Args&), Context& ctx, const Args& args) {
  SLUICE_RETURN_IF_ERROR(check(args));
  SLUICE_ASSIGN_OR_RETURN(const Impl<Args>* impl, choose_impl(op, impls, ctx, args));
  return run_impl(*impl, ctx, args);
}

// An operator without its argument type, for listings.
struct ImplInfo {
  const char* name;
  Isa isa;
};
struct OpInfo {
  const char* name;
  std::vector<ImplInfo> impls;  // in order of preference
};

template <class Args>
OpInfo describe_op(const char* name, std::span<const Impl<Args>> impls) {
  OpInfo info{name, {}};
  for (const auto& i : impls) info.impls.push_back({i.name, i.isa});
  return info;
}

// All operators of this build, in alphabetical order. Written by CMake from the folders in ops/.
std::vector<OpInfo> all_ops();

}  // namespace sluice
