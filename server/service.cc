#include "server/service.h"

#include <algorithm>
#include <ctime>

#include "core/thread_errors.h"

namespace sluice {

Service::Service(std::unique_ptr<Engine> engine, ServiceTexts texts, ServiceOptions options)
    : options_(std::move(options)),
      texts_(std::move(texts)),
      tool_format_(texts_.chat ? sluice::tool_format(texts_.chat->source()) : ToolFormat::kNone),
      created_(int64_t(std::time(nullptr))),
      metrics_({.model = options_.names.front(), .max_context = engine->max_context(), .version = options_.version}),
      loop_(std::move(engine), options_.queue),
      workers_(options_.workers) {}

Result<std::unique_ptr<Service>> Service::create(std::unique_ptr<Engine> engine, ServiceTexts texts, ServiceOptions options) {
  try {
    return std::make_unique<Service>(std::move(engine), std::move(texts), std::move(options));
  } catch (const std::system_error& e) {
    return no_more_threads(e);
  }
}

bool Service::has_name(std::string_view name) const { return std::ranges::count(options_.names, name) > 0; }

std::shared_ptr<void> Service::count_on_its_way() {
  ++on_their_way_;
  return {nullptr, [this](void*) { --on_their_way_; }};
}

Reasoning Service::reasoning(std::string_view prompt) const {
  return texts_.chat ? reasoning_of(texts_.chat->source(), prompt) : Reasoning::kOff;
}

}  // namespace sluice
