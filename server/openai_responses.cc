// POST /v1/responses, of which nothing is kept, so that /v1/responses/{id} is always 404; and /v1/responses/input_tokens.
#include <boost/json/value.hpp>
#include <string>

#include "server/answer_stream.h"
#include "server/openai_common.h"
#include "server/openai_routes.h"
#include "server/response_request.h"

namespace sluice {
namespace {

namespace json = boost::json;

MaybeError create(Service& service, const json::object& body, const Responder& responder) {
  ResponseRequest r;
  if (auto e = read_response_request(body, service, r)) return e;
  follow_answers(service, std::move(r.choices), responder,
                 std::make_unique<ResponseAnswer>(std::move(r.answer), service, responder));
  return std::nullopt;
}

MaybeError count_tokens(const Service& service, const json::object& body, const Responder& responder) {
  ChatPrompt prompt;
  if (auto e = read_response_prompt(body, service, prompt)) return e;
  respond_json(responder, {{"object", "response.input_tokens"}, {"input_tokens", prompt.ids.size()}});
  return std::nullopt;
}

void not_kept(const HttpRequest& q, const Responder& r) {
  r.respond(error_response({.status = 404,
                            .message = "response '" + std::string(q.param("id")) + "' is not here: this server keeps no responses",
                            .param = "response_id",
                            .code = "not_found"}));
}

}  // namespace

void add_responses_routes(Router& router, Service& service) {
  router.add("POST", "/v1/responses",
             json_route(service, [&service](const HttpRequest&, const json::object& body, const Responder& r) {
               return create(service, body, r);
             }));
  router.add(
      "POST", "/v1/responses/input_tokens",
      json_route(
          service,
          [&service](const HttpRequest&, const json::object& body, const Responder& r) { return count_tokens(service, body, r); },
          error_response, Needs::kTokenizer));
  router.add("GET", "/v1/responses/{id}", not_kept);
  router.add("DELETE", "/v1/responses/{id}", not_kept);
  router.add("GET", "/v1/responses/{id}/input_items", not_kept);
  router.add("POST", "/v1/responses/{id}/cancel", not_kept);
}

}  // namespace sluice
