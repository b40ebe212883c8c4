// POST /v1/completions
#include "server/answer_stream.h"
#include "server/completion_request.h"
#include "server/openai_common.h"
#include "server/openai_routes.h"

namespace sluice {
namespace {

namespace json = boost::json;

MaybeError complete(Service& service, const json::object& body, const Responder& responder) {
  CompletionRequest r;
  if (auto e = read_completion_request(body, service, r)) return e;
  follow_answers(service, std::move(r.choices), responder,
                 std::make_unique<CompletionAnswer>(std::move(r.answer), service, responder));
  return std::nullopt;
}

}  // namespace

void add_completions_route(Router& router, Service& service) {
  router.add("POST", "/v1/completions",
             json_route(service, [&service](const HttpRequest&, const json::object& body, const Responder& r) {
               return complete(service, body, r);
             }));
}

}  // namespace sluice
