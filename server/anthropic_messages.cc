// POST /v1/messages and /v1/messages/count_tokens
#include <boost/json/serialize.hpp>

#include "server/answer_stream.h"
#include "server/anthropic_routes.h"
#include "server/messages_answer.h"
#include "server/messages_prompt.h"
#include "server/openai_common.h"
#include "server/sampling_fields.h"

namespace sluice {
namespace {

namespace json = boost::json;

// Fields of the other routes for which a message has no place.
void check_absent_fields(const RequestFields& f) {
  for (const char* key : {"n", "best_of", "prompt_logprobs", "truncate_prompt_tokens", "max_completion_tokens"})
    if (f.has(key)) f.fail(key, "is no field of this route");
  for (const char* key : {"mcp_servers", "container"})
    if (f.has(key)) f.unsupported(key, "the server runs no tools");
}

// What Anthropic names or bounds in its own way, then the rest as everywhere.
CommonFields read_fields(const RequestFields& f, const Service& service) {
  check_absent_fields(f);
  if (f.ok() && !f.has("max_tokens")) f.fail("max_tokens", "is missing");
  f.number("temperature", 0, 1);
  auto stops = f.strings("stop_sequences", kMaxStops, kMaxStopBytes, false);
  CommonFields c = read_common_fields(f, service, service.max_context(), {"max_tokens"});
  if (stops) c.request.stop_strings = std::move(*stops);
  return c;
}

MaybeError messages(Service& service, const HttpRequest& q, const json::object& body, const Responder& responder) {
  MaybeError error;
  const RequestFields f(body, error);
  const CommonFields c = read_fields(f, service);
  const MessagesInput input = read_messages_input(f, service);
  if (error) return error;

  ChatPrompt prompt;
  if (auto e = render_chat(input.chat, service, prompt)) return e;
  if (auto e = fit_prompt(c, service, "messages", prompt.ids)) return e;

  const AnswerHead head = answer_head("msg_", c.request_id, "message", service);
  MessagesAnswerOptions o{.id = head.id, .model = head.model, .request_id = q.id, .stream = c.stream};
  o.show_thinking = input.show_thinking, o.parallel_calls = input.parallel_calls;
  o.format = output_format(input.chat, prompt, service);
  o.tools = input.chat.tools;
  std::vector<Request> choices;
  add_choices(c, prompt.ids, prompt.boundaries, choices);
  follow_answers(service, std::move(choices), responder, std::make_unique<MessagesAnswer>(std::move(o), responder));
  return std::nullopt;
}

MaybeError count_tokens(const Service& service, const HttpRequest& q, const json::object& body, const Responder& responder) {
  MaybeError error;
  const RequestFields f(body, error);
  check_model(f, service);
  const MessagesInput input = read_messages_input(f, service);
  if (error) return error;
  ChatPrompt prompt;
  if (auto e = render_chat(input.chat, service, prompt)) return e;
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
