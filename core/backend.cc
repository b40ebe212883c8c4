#include "core/backend.h"

#include <algorithm>

#include "core/impl.h"

namespace sluice {
namespace {

constexpr const char* kPrefillOps[] = {"gdn_prefill"};
constexpr const char* kDecodeOps[] = {"gdn_decode", "gdn_decode_classic", "gdn_step", "gdn_verify"};

// Operators whose forms differ. Exact: another form of the family, portable_mma, has other sums; matmul's and attention's serve
// other types, and have the sums of the family for theirs. gdn_step is missing: its sums are not those of several rows
// (Batch::invariant).
struct InvariantOp {
  const char* name;
  bool exact;
};
constexpr InvariantOp kInvariantOps[] = {{"matmul", false},    {"gqa_prefill", false}, {"gqa_decode", false}, {"gdn_prefill", true},
                                         {"gdn_decode", true}, {"gdn_verify", true},   {"gdn_close", true}};
constexpr const char* kInvariantForm = "portable";

std::string capability(const Gpu& gpu) { return std::to_string(gpu.major) + "." + std::to_string(gpu.minor); }
std::string found(const Gpu& gpu) { return gpu.name + " of compute capability " + capability(gpu); }

// The form tuned for the device's architecture, whatever the build; null where there is none.
const char* tuned_form(const Gpu& gpu) {
  if (gpu.major == 9) return "sm90";
  if (gpu.major == 10 && (gpu.minor == 0 || gpu.minor == 3)) return "sm100";
  return nullptr;
}

Isa isa_of(const std::string& form) { return form == "sm90" ? Isa::kSm90a : form == "sm100" ? Isa::kSm100a : Isa::kCuda; }

// The best form that runs.
std::string automatic(const Gpu& gpu) {
  const char* tuned = tuned_form(gpu);
  return tuned && gpu_has(gpu, isa_of(tuned)).yes() ? tuned : "portable";
}

const char* wanted_capability(const std::string& form) {
  if (form == "sm90") return "9.0";
  return form == "sm100" ? "10.0 or 10.3" : "8.0 or newer";
}

// One flag with its value and the device it meets.
class Resolver {
 public:
  Resolver(std::string flag, std::string value, const Gpu* gpu) : flag_(std::move(flag)), value_(std::move(value)), gpu_(gpu) {}

  // The form's name, and in `warning` what the user should know.
  Result<std::string> form(std::string& warning) const {
    if (std::ranges::find(kBackends, value_) == std::end(kBackends))
      return invalid(given() + ": there is no such backend", "use auto");
    return gpu_ ? on_gpu(warning) : on_cpu(warning);
  }

 private:
  std::string given() const { return flag_ + " " + value_; }
  bool alias() const { return value_ == "triton" || value_ == "flashinfer" || value_ == "cutedsl"; }

  Result<std::string> on_cpu(std::string& warning) const {
    if (value_ == "auto" || value_ == "reference") return value_;
    if (alias()) {
      warning = given() + " is not supported on the CPU (requires a GPU). Falling back to auto";
      return std::string("auto");
    }
    return Status(Code::kUnsupported,
                  given() + " needs a GPU of compute capability " + wanted_capability(value_) + ", and the device is the CPU",
                  "use auto");
  }

  Result<std::string> on_gpu(std::string& warning) const {
    if (const Can can = gpu_has(*gpu_, Isa::kCuda); !can.yes())
      return Status(Code::kUnsupported,
                    given() + " needs a GPU of compute capability 8.0 or newer, and " + found(*gpu_) + " was found",
                    "use --device cpu");
    if (value_ == "auto") return automatic(*gpu_);
    if (value_ == "portable" || value_ == "triton") return std::string("portable");
    if (value_ == "reference")
      return Status(Code::kUnsupported, given() + " runs on the CPU only, and " + found(*gpu_) + " was found",
                    "use portable, or --device cpu");
    const char* tuned = tuned_form(*gpu_);
    if (alias() && !tuned) {
      warning = given() + " is not supported on this GPU (requires compute capability 9.0, 10.0 or 10.3; found " +
                capability(*gpu_) + "). Falling back to portable";
      return std::string("portable");
    }
    return runnable(alias() ? tuned : value_);
  }

  Result<std::string> runnable(const std::string& form) const {
    if (gpu_has(*gpu_, isa_of(form)).yes()) return form;
    const char* tuned = tuned_form(*gpu_);
    if (!tuned || form != tuned)
      return Status(
          Code::kUnsupported,
          given() + " needs a GPU of compute capability " + wanted_capability(form) + ", and " + found(*gpu_) + " was found",
          "use " + automatic(*gpu_));
    return Status(Code::kUnsupported,
                  given() + " on a GPU of compute capability " + capability(*gpu_) +
                      " needs a build with CUDA 13.0 or newer, and this build has CUDA " + cuda_version_text(gpu_->cuda_version),
                  "use portable");
  }

  std::string flag_, value_;
  const Gpu* gpu_;
};

Status resolve(const char* flag, const std::string& own, const BackendFlags& flags, const Gpu* gpu,
               std::span<const char* const> ops, std::string& form, BackendPlan& plan) {
  const std::string& value = own.empty() ? flags.both : own;
  std::string warning;
  SLUICE_ASSIGN_OR_RETURN(form, Resolver(own.empty() ? "--linear-attn-backend" : flag, value, gpu).form(warning));
  if (!warning.empty() && std::ranges::find(plan.warnings, warning) == plan.warnings.end()) plan.warnings.push_back(warning);
  if (value != "auto" && form != "auto")
    for (const char* op : ops) plan.choices[op] = ImplChoice(form, false);
  return {};
}

}  // namespace

std::string cuda_version_text(int version) {
  return version == 0 ? "unknown" : std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

Result<BackendPlan> choose_backends(const BackendFlags& flags, const Gpu* gpu) {
  BackendPlan plan;
  SLUICE_RETURN_IF_ERROR(resolve("--linear-attn-prefill-backend", flags.prefill, flags, gpu, kPrefillOps, plan.prefill, plan));
  SLUICE_RETURN_IF_ERROR(resolve("--linear-attn-decode-backend", flags.decode, flags, gpu, kDecodeOps, plan.decode, plan));
  return plan;
}

Status choose_invariant_forms(Device device, ImplChoices& choices) {
  if (device.kind == DeviceKind::kCpu) return {};
  for (const auto& [op, exact] : kInvariantOps) {
    const ImplChoice form(kInvariantForm, exact);
    ImplChoice& chosen = choices.try_emplace(op, form).first->second;
    if (!is_choice(form, chosen.impl))
      return {Code::kUnsupported,
              std::string("--batch-invariant wants ") + op + " as '" + kInvariantForm + "', and '" + chosen.impl + "' was chosen",
              "leave one of the two out"};
    chosen.strict |= exact;
  }
  return {};
}

}  // namespace sluice
