// POST /v1/chat/completions
#include "server/answer_stream.h"
#include "server/chat_request.h"
#include "server/openai_common.h"
#include "server/openai_routes.h"

namespace sluice {
namespace {

namespace json = boost::json;

MaybeError chat(Service& service, const json::object& body, const Responder& responder) {
  ChatRequest r;
  if (auto e = read_chat_request(body, service, r)) return e;
  follow_answers(service, std::move(r.choices), responder, std::make_unique<ChatAnswer>(std::move(r.answer), service, responder));
  return std::nullopt;
}

}  // namespace

void add_chat_route(Router& router, Service& service) {
  router.add("POST", "/v1/chat/completions",
             json_route(service, [&service](const HttpRequest&, const json::object& body, const Responder& r) {
               return chat(service, body, r);
             }));
}

}  // namespace sluice
