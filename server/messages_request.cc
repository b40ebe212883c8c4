#include "server/messages_request.h"

#include "server/answer_head.h"
#include "server/messages_prompt.h"
#include "server/sampling_fields.h"

namespace sluice {
namespace {

// Fields of the other routes for which a message has no place.
void check_absent_fields(const RequestFields& f) {
  for (const char* key : {"n", "best_of", "prompt_logprobs", "truncate_prompt_tokens", "max_completion_tokens"})
    if (f.has(key)) f.fail(key, "is no field of this route");
  for (const char* key : {"mcp_servers", "container"})
    if (f.has(key)) f.unsupported(key, "the server runs no tools");
}

// What Anthropic names or bounds in its own way, then the rest as everywhere.
CommonFields read_fields(const RequestFields& f, const ServedModel& served) {
  check_absent_fields(f);
  if (f.ok() && !f.has("max_tokens")) f.fail("max_tokens", "is missing");
  f.number("temperature", 0, 1);
  auto stops = f.strings("stop_sequences", kMaxStops, kMaxStopBytes, false);
  CommonFields c = read_common_fields(f, served, served.max_context(), {"max_tokens"});
  if (stops) c.request.stop_strings = std::move(*stops);
  return c;
}

}  // namespace

MaybeError read_messages_request(const boost::json::object& body, const ServedModel& served, MessagesRequest& out) {
  MaybeError error;
  const RequestFields f(body, error);
  const CommonFields c = read_fields(f, served);
  const MessagesInput input = read_messages_input(f, served);
  if (error) return error;

  ChatPrompt prompt;
  if (auto e = render_chat(input.chat, served, prompt)) return e;
  if (auto e = fit_prompt(c, served, "messages", prompt.ids)) return e;

  const AnswerHead head = answer_head("msg_", c.request_id, "message", served);
  MessagesAnswerOptions& o = out.answer;
  o.id = head.id, o.model = head.model, o.stream = c.stream;
  o.show_thinking = input.show_thinking, o.parallel_calls = input.parallel_calls;
  o.format = output_format(input.chat, prompt, served);
  o.tools = input.chat.tools;
  add_choices(c, prompt.ids, prompt.boundaries, out.choices);
  return std::nullopt;
}

MaybeError read_messages_prompt(const boost::json::object& body, const ServedModel& served, ChatPrompt& out) {
  MaybeError error;
  const RequestFields f(body, error);
  check_model(f, served);
  const MessagesInput input = read_messages_input(f, served);
  if (error) return error;
  return render_chat(input.chat, served, out);
}

}  // namespace sluice
