#include "server/routes.h"

#include "server/anthropic_routes.h"
#include "server/embedded.h"
#include "server/metrics.h"
#include "server/openai_routes.h"
#include "server/openapi.h"
#include "server/web.h"

namespace sluice {

Status add_all_routes(Router& router, Service& service, const RouteFacts& facts) {
  for (auto* add : {add_chat_route, add_completions_route, add_responses_routes, add_messages_routes, add_token_routes,
                    add_model_routes, add_health_routes})
    add(router, service);
  add_absent_routes(router);
  add_metrics_route(router, service.metrics(), [&service, counters = facts.counters] {
    return MetricsReading{service.loop().report(), counters(), service.draining};
  });
  add_web_routes(router, {.facts = {service.name(), service.version(), facts.device, service.max_context()},
                          .report = [&service] { return service.loop().report(); },
                          .draining = [&service] { return service.draining.load(); }});
  std::vector<std::string> page;
  for (const EmbeddedFile& file : web_files()) page.emplace_back(file.name);
  return add_openapi_route(router, {.version = service.version(),
                                    .models = service.names(),
                                    .page = std::move(page),
                                    .vocab_size = service.vocab_size(),
                                    .max_context = service.max_context(),
                                    .needs_key = facts.needs_key});
}

}  // namespace sluice
