#include "base/environment.h"

#include <cstdlib>

namespace sluice {

Result<ImplChoices> parse_impl_choices(const std::string& text) {
  ImplChoices choices;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string item = text.substr(begin, end - begin);
    const size_t colon = item.find(':');
    if (colon == std::string::npos || colon == 0 || colon + 1 == item.size())
      return invalid("SLUICE_IMPL: '" + item + "' is not OPERATOR:IMPLEMENTATION",
                     "write for example SLUICE_IMPL=gdn_prefill:reference; `sluice doctor --ops` lists both");
    choices[item.substr(0, colon)] = item.substr(colon + 1);
    begin = end + 1;
  }
  return choices;
}

Result<Environment> read_environment() {
  Environment env;
  if (const char* impl = std::getenv("SLUICE_IMPL")) {
    SLUICE_ASSIGN_OR_RETURN(env.impl, parse_impl_choices(impl));
  }
  return env;
}

}  // namespace sluice
