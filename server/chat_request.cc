#include "server/chat_request.h"

#include "server/chat_prompt.h"
#include "server/sampling_fields.h"

namespace sluice {
namespace {

namespace json = boost::json;

void read_logprobs(const RequestFields& f, Request& r, ChatAnswerOptions& o) {
  o.logprobs = f.boolean("logprobs").value_or(false);
  if (const auto top = f.integer("top_logprobs", 0, kMaxTopLogprobs)) {
    r.top_logprobs = int(*top);
    if (*top > 0 && !o.logprobs) f.fail("top_logprobs", "needs logprobs: true");
  }
}

// Fields that ask for other than text.
void check_modalities(const RequestFields& f) {
  if (const auto kinds = f.strings("modalities", 8, 32, false))
    for (const std::string& kind : *kinds)
      if (kind != "text") f.unsupported("modalities", "answers are text only");
  for (const char* key : {"audio", "web_search_options"})
    if (f.has(key)) f.unsupported(key, "is not offered");
}

}  // namespace

MaybeError read_chat_request(const json::object& body, const ServedModel& served, ChatRequest& out) {
  MaybeError error;
  const RequestFields f(body, error);
  CommonFields c = read_common_fields(f, served, served.max_context());
  for (const char* key : {"max_tokens", "max_completion_tokens"}) f.integer(key, 1, served.max_context());  // 0 is not offered here
  ChatAnswerOptions& o = out.answer;
  read_logprobs(f, c.request, o);
  check_modalities(f);
  const bool echo = f.boolean("echo").value_or(false);
  o.include_reasoning = f.boolean("include_reasoning").value_or(true);
  o.parallel_calls = f.boolean("parallel_tool_calls").value_or(true);
  const ChatInput input = read_chat_input(f, served);
  if (error) return error;

  ChatPrompt prompt;
  if (auto e = render_chat(input, served, prompt)) return e;
  if (auto e = fit_prompt(c, served, "messages", prompt.ids)) return e;
  if (c.keep_prompt_tokens) prompt.boundaries.clear();  // they count from the start that may be cut

  o.head = answer_head("chatcmpl-", c.request_id, c.stream ? "chat.completion.chunk" : "chat.completion", served);
  o.n = c.n, o.stream = c.stream, o.include_usage = c.include_usage;
  o.tokens_as_ids = c.tokens_as_ids, o.return_token_ids = c.return_token_ids;
  o.include_stop = c.request.include_stop;
  o.format = output_format(input, prompt, served);
  o.tools = input.tools;
  if (echo) o.echo = prompt.continued;
  if (c.return_token_ids) o.prompt = prompt.ids;
  o.prompt_logprobs = c.request.prompt_logprobs >= 0;

  add_choices(c, prompt.ids, prompt.boundaries, out.choices);
  return std::nullopt;
}

}  // namespace sluice
