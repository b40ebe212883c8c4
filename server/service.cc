#include "server/service.h"

#include <ctime>

#include "core/thread_errors.h"

namespace sluice {

Service::Service(std::unique_ptr<Engine> engine, ServiceTexts texts, ServiceOptions options)
    : ServedModel(std::move(texts), std::move(options), engine->model().config().vocab_size, engine->max_context()),
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

std::shared_ptr<void> Service::count_on_its_way() {
  ++on_their_way_;
  return {nullptr, [this](void*) { --on_their_way_; }};
}

}  // namespace sluice
