#include "base/environment.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <iterator>
#include <string_view>
#include <vector>

#include "base/environment_variables.h"

namespace sluice {

namespace {

// What stands between commas; nothing where the text ends with one.
std::vector<std::string> items_of(const std::string& text) {
  std::vector<std::string> items;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    items.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return items;
}

// What SLUICE_ISA may name, each with all that stands before it.
struct IsaName {
  const char* name;
  bool CpuFeatures::*feature;  // null: nothing special
};
constexpr IsaName kIsas[] = {{"plain", nullptr},
                             {"avx2", &CpuFeatures::avx2},
                             {"avx512", &CpuFeatures::avx512},
                             {"avx512_vnni", &CpuFeatures::avx512_vnni},
                             {"avx512_bf16", &CpuFeatures::avx512_bf16},
                             {"amx", &CpuFeatures::amx_bf16}};

bool has(const CpuFeatures& cpu, const IsaName& isa) { return !isa.feature || cpu.*isa.feature; }

template <class Wanted>
std::string names_of_isas(Wanted wanted) {
  std::string names;
  for (const IsaName& isa : kIsas)
    if (wanted(isa)) names += (names.empty() ? "" : ", ") + std::string(isa.name);
  return names;
}

constexpr EnvironmentVariable kVariables[] = {
    {"SLUICE_IMPL", "OPERATOR:IMPLEMENTATION,...",
     "implementations to use, and no others, as `gdn_prefill:reference,matmul:cpu`. `sluice doctor --ops` lists both names."},
    {"SLUICE_TILE", "OPERATOR:FORM:SIZE,...",
     "sizes of tiles on a GPU, as `gdn_prefill:portable:32`; `sluice bench ops --tune` finds them."},
    {"SLUICE_ISA", "plain|avx2|avx512|avx512_vnni|avx512_bf16|amx",
     "the most of a CPU's instruction set that is used; it must have that."},
    {"SLUICE_PDL", "0|1|OPERATOR,...",
     "operators whose GPU kernels may start while the kernel before them ends: none, all, or those of the list."},
};

}  // namespace

std::span<const EnvironmentVariable> environment_variables() { return kVariables; }

Result<ImplChoices> parse_impl_choices(const std::string& text) {
  ImplChoices choices;
  for (const std::string& item : items_of(text)) {
    const size_t colon = item.find(':');
    if (colon == std::string::npos || colon == 0 || colon + 1 == item.size())
      return invalid("SLUICE_IMPL: '" + item + "' is not OPERATOR:IMPLEMENTATION",
                     "write for example SLUICE_IMPL=gdn_prefill:reference; `sluice doctor --ops` lists both");
    choices[item.substr(0, colon)] = item.substr(colon + 1);
  }
  return choices;
}

Result<TileChoices> parse_tile_choices(const std::string& text) {
  TileChoices choices;
  for (const std::string& item : items_of(text)) {
    const size_t first = item.find(':'), last = item.rfind(':');
    int size = 0;
    const bool named = first != std::string::npos && 0 < first && first + 1 < last;
    const char *digits = item.data() + (named ? last + 1 : 0), *end = item.data() + item.size();
    const auto [stop, error] = std::from_chars(digits, end, size);
    if (!named || error != std::errc() || stop != end || size <= 0)
      return invalid("SLUICE_TILE: '" + item + "' is not OPERATOR:FORM:SIZE",
                     "write for example SLUICE_TILE=gdn_prefill:portable:32; docs/tuning.md lists the sizes");
    choices[item.substr(0, last)] = size;
  }
  return choices;
}

Result<PdlChoice> parse_pdl_choice(const std::string& text) {
  if (text == "0" || text == "1") return PdlChoice{.all = text == "1"};
  PdlChoice choice{.all = false};
  for (const std::string& op : items_of(text)) {
    if (op.empty())
      return invalid("SLUICE_PDL: '" + text + "' names an operator that is empty", "write 0, 1 or gdn_step,merge_state");
    choice.ops.insert(op);
  }
  if (choice.ops.empty()) return invalid("SLUICE_PDL is empty", "write 0, 1 or operators, as gdn_step,merge_state");
  return choice;
}

Result<CpuFeatures> limit_cpu_features(CpuFeatures cpu, const std::string& isa) {
  const auto limit = std::ranges::find(kIsas, isa, &IsaName::name);
  if (limit == std::end(kIsas))
    return invalid("SLUICE_ISA: '" + isa + "' is no instruction set",
                   "write one of " + names_of_isas([](const IsaName&) { return true; }));
  if (!has(cpu, *limit))
    return Status(Code::kUnsupported, "SLUICE_ISA: this CPU has no " + isa,
                  "it has " + names_of_isas([&](const IsaName& i) { return has(cpu, i); }));
  for (auto beyond = limit + 1; beyond != std::end(kIsas); ++beyond) cpu.*beyond->feature = false;
  return cpu;
}

Result<CpuFeatures> usable_cpu_features() {
  const char* isa = std::getenv("SLUICE_ISA");
  return isa ? limit_cpu_features(detect_cpu_features(), isa) : detect_cpu_features();
}

Result<Environment> read_environment() {
  Environment env;
  if (const char* impl = std::getenv("SLUICE_IMPL")) {
    SLUICE_ASSIGN_OR_RETURN(env.impl, parse_impl_choices(impl));
  }
  if (const char* tile = std::getenv("SLUICE_TILE")) {
    SLUICE_ASSIGN_OR_RETURN(env.tile, parse_tile_choices(tile));
  }
  if (const char* pdl = std::getenv("SLUICE_PDL")) {
    SLUICE_ASSIGN_OR_RETURN(env.pdl, parse_pdl_choice(pdl));
  }
  if (const char* isa = std::getenv("SLUICE_ISA")) env.isa = isa;
  SLUICE_ASSIGN_OR_RETURN(env.cpu, usable_cpu_features());
  return env;
}

}  // namespace sluice
