// The SLUICE_* environment variables, read once at start and handed down as data.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>

#include "base/cpu_features.h"
#include "base/status.h"

namespace sluice {

// The implementation that the user asks for. A strict choice refuses the calls that it cannot serve; another is a family of forms
// (portable, portable_mma), and calls that none of them serves go on down the operator's list.
struct ImplChoice {
  ImplChoice() = default;
  ImplChoice(std::string impl, bool strict = true) : impl(std::move(impl)), strict(strict) {}  // NOLINT: a name is a strict choice

  std::string impl;
  bool strict = true;
};

// By operator. SLUICE_IMPL=gdn_prefill:reference,matmul:cpu makes strict ones, the flags of core/backend.h the others.
using ImplChoices = std::map<std::string, ImplChoice, std::less<>>;

// Sizes of tiles by "OPERATOR:FORM" (core/tile.h). SLUICE_TILE=gdn_prefill:portable:32,gdn_prefill:portable_mma:1
using TileChoices = std::map<std::string, int, std::less<>>;

// Operators whose GPU kernels may start while the kernel before them ends (core/pdl.h): all, or those of a list.
// SLUICE_PDL=1, 0 or gdn_step,merge_state
struct PdlChoice {
  bool all = true;
  std::set<std::string, std::less<>> ops;
  bool allows(std::string_view op) const { return all || ops.contains(op); }
};

struct Environment {
  ImplChoices impl;
  TileChoices tile;
  PdlChoice pdl;
  std::string isa;  // the most of an instruction set that is used; empty: all that the CPU has
  CpuFeatures cpu;  // the CPU's, up to there
};

Result<ImplChoices> parse_impl_choices(const std::string& text);
Result<TileChoices> parse_tile_choices(const std::string& text);
Result<PdlChoice> parse_pdl_choice(const std::string& text);
// As if the CPU had no more than `isa`: plain, avx2, avx512, ... It must have that.
Result<CpuFeatures> limit_cpu_features(CpuFeatures cpu, const std::string& isa);
// What detect_cpu_features() found, up to what SLUICE_ISA says.
Result<CpuFeatures> usable_cpu_features();
Result<Environment> read_environment();

}  // namespace sluice
