// What the variables that base/environment.h reads are for, in words for the manual. The others are options' (cli/).
#pragma once

#include <span>

namespace sluice {

struct EnvironmentVariable {
  const char *name, *value, *text;  // `words` of the text are in bold
};
std::span<const EnvironmentVariable> environment_variables();

}  // namespace sluice
