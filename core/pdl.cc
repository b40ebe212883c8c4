#include "core/pdl.h"

#include <algorithm>

namespace sluice {

Status check_pdl_choice(const PdlChoice& choice, const std::vector<OpInfo>& ops) {
  for (const std::string& name : choice.ops)
    if (std::ranges::none_of(ops, [&](const OpInfo& op) { return name == op.name; }))
      return invalid("SLUICE_PDL: no operator is called '" + name + "'",
                     "write 0, 1 or operators; `sluice doctor --ops` lists them");
  return {};
}

}  // namespace sluice
