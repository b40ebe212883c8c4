// POST /v1/messages and /v1/messages/count_tokens
#include <boost/json/serialize.hpp>

#include "server/answer_stream.h"
#include "server/anthropic_routes.h"
#include "server/messages_request.h"
#include "server/openai_common.h"

namespace sluice {
namespace {

namespace json = boost::json;

MaybeError messages(Service& service, const HttpRequest& q, const json::object& body, const Responder& responder) {
  MessagesRequest r;
  r.answer.request_id = q.id;
  if (auto e = read_messages_request(body, service, r)) return e;
  follow_answers(service, std::move(r.choices), responder, std::make_unique<MessagesAnswer>(std::move(r.answer), responder));
  return std::nullopt;
}

MaybeError count_tokens(const Service& service, const HttpRequest& q, const json::object& body, const Responder& responder) {
  ChatPrompt prompt;
  if (auto e = read_messages_prompt(body, service, prompt)) return e;
  responder.respond(200, {{"Content-Type", "application/json"}, anthropic_request_id(q.id)},
                    json::serialize(json::object{{"input_tokens", prompt.ids.size()}}));
  return std::nullopt;
}

}  // namespace

void add_messages_routes(Router& router, Service& service) {
  const auto route = [&service](auto answer, Needs needs) {
    return json_route(
        service,
        [&service, answer](const HttpRequest& q, const json::object& body, const Responder& r) {
          return answer(service, q, body, r);
        },
        anthropic_error_response, needs);
  };
  router.add("POST", "/v1/messages", route(messages, Needs::kEngine));
  router.add("POST", "/v1/messages/count_tokens", route(count_tokens, Needs::kTokenizer));
  router.add_errors("/v1/messages", [](const HttpError& e) { return anthropic_error_response(api_error(e), e.request_id); });
}

}  // namespace sluice
