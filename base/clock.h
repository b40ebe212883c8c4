// Monotonic seconds, for durations only.
#pragma once

#include <chrono>

namespace sluice {

inline double now_seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace sluice
