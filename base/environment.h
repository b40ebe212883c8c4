// The SLUICE_* environment variables, read once at start and handed down as data.
#pragma once

#include <map>
#include <string>

#include "base/status.h"

namespace sluice {

// Operator name -> the implementation the user forces: SLUICE_IMPL=gdn_prefill:reference,matmul:cpu
using ImplChoices = std::map<std::string, std::string>;

struct Environment {
  ImplChoices impl;
};

Result<ImplChoices> parse_impl_choices(const std::string& text);
Result<Environment> read_environment();

}  // namespace sluice
