// Where no thread can be started the standard library throws; this is what it means to a person.
#pragma once

#include <string>
#include <system_error>

#include "base/status.h"

namespace sluice {

inline Status no_more_threads(const std::system_error& e) {
  return {Code::kResourceExhausted, std::string("no more threads can be started: ") + e.what(),
          "give fewer --threads, or raise the limits of processes and memory (ulimit -u, -v, -s)"};
}

}  // namespace sluice
