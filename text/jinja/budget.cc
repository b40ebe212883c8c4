#include "text/jinja/budget.h"

#include <fmt/format.h>

#include "base/clock.h"

namespace sluice::jinja {

void fail(std::string message) { throw Failure{Code::kInvalidArgument, std::move(message)}; }
void exhausted(std::string message) { throw Failure{Code::kResourceExhausted, std::move(message)}; }

Budget::Budget(const Limits& limits) : limits_(limits), deadline_(now_seconds() + limits.seconds) {}

void Budget::out_of_steps() const { exhausted(fmt::format("rendering took more than {} steps", limits_.steps)); }

void Budget::out_of_memory() const { exhausted(fmt::format("rendering needs more than {} bytes of memory", limits_.memory)); }

void Budget::look_at_clock() {
  next_look_ = effort_ + kLookEvery;
  if (now_seconds() > deadline_) exhausted(fmt::format("rendering took more than {:.0f} ms", limits_.seconds * 1e3));
}

}  // namespace sluice::jinja
