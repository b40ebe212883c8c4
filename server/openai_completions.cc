// POST /v1/completions
#include <algorithm>

#include "server/answer_stream.h"
#include "server/completion_answer.h"
#include "server/openai_common.h"
#include "server/openai_routes.h"
#include "server/sampling_fields.h"

namespace sluice {
namespace {

namespace json = boost::json;

constexpr int64_t kDefaultMaxTokens = 16;  // OpenAI's
constexpr size_t kMaxPrompts = 256;

CompletionPrompt text_prompt(std::string_view text, const Service& service, bool parse_special) {
  return {service.tokenizer().encode(text, parse_special), std::string(text)};
}

// A text, a list of texts, a list of token ids, or a list of such lists.
void read_prompts(const RequestFields& f, const Service& service, const CommonFields& c, std::vector<CompletionPrompt>& out) {
  const json::value* prompt = f.find("prompt");
  if (!prompt) return f.fail("prompt", "is missing");
  const auto from_ids = [&](const json::array& list, const std::string& where) {
    CompletionPrompt p;
    if (auto e = read_token_ids(list, service.vocab_size(), where, p.ids)) {
      e->param = "prompt";
      f.error() = std::move(e);
    }
    p.text = service.tokenizer().decode(p.ids, false);
    out.push_back(std::move(p));
  };
  if (prompt->is_string()) {
    out.push_back(text_prompt(prompt->get_string(), service, c.parse_special));
    return;
  }
  const json::array* list = prompt->if_array();
  if (!list) return f.fail("prompt", "is " + kind_of(*prompt) + ", wanted a string, a list of strings, or token ids");
  if (list->empty()) return f.fail("prompt", "is empty");
  if (list->front().is_number()) return from_ids(*list, "prompt");
  if (list->size() > kMaxPrompts)
    return f.fail("prompt", "has " + std::to_string(list->size()) + " prompts, wanted at most " + std::to_string(kMaxPrompts));
  const bool texts = list->front().is_string();
  for (size_t i = 0; i < list->size() && f.ok(); ++i) {
    const json::value& item = (*list)[i];
    const std::string at = "prompt[" + std::to_string(i) + "]";
    if (texts && item.is_string()) out.push_back(text_prompt(item.get_string(), service, c.parse_special));
    else if (!texts && item.is_array()) from_ids(item.get_array(), at);
    else f.fail("prompt", at + " is " + kind_of(item) + ", wanted " + (texts ? "a string as the first is" : "a list of token ids"));
  }
}

void read_logprobs(const RequestFields& f, Request& r, CompletionAnswerOptions& o) {
  o.echo = f.boolean("echo").value_or(false);
  if (const auto top = f.integer("logprobs", 0, kMaxTopLogprobs)) {
    o.logprobs = true;
    r.top_logprobs = int(*top);
    if (o.echo) r.prompt_logprobs = std::max(r.prompt_logprobs, int(*top));
  }
  if (f.ok() && r.max_tokens == 0 && !o.echo && r.prompt_logprobs < 0)
    f.fail("max_tokens", "is 0, which needs echo or prompt_logprobs");
}

MaybeError complete(Service& service, const HttpRequest&, const json::object& body, const Responder& responder) {
  MaybeError error;
  const RequestFields f(body, error);
  CommonFields c = read_common_fields(f, service, kDefaultMaxTokens);
  CompletionAnswerOptions o;
  o.prompt_logprobs = c.request.prompt_logprobs >= 0;
  read_logprobs(f, c.request, o);
  if (const auto suffix = f.string("suffix", 1 << 20); suffix && !suffix->empty())
    f.fail("suffix", "the model cannot fill in between two texts");
  if (f.has("prompt_embeds")) f.fail("prompt_embeds", "is not read; give text or token ids");
  read_prompts(f, service, c, o.prompts);
  if (f.ok() && int64_t(o.prompts.size()) * c.n > service.queue_limits().waiting_requests)
    f.fail("prompt", "has more choices than the server's queue holds, " + std::to_string(service.queue_limits().waiting_requests));
  if (error) return error;

  std::vector<Request> choices;
  for (CompletionPrompt& p : o.prompts) {
    const size_t before = p.ids.size();
    if (auto e = fit_prompt(c, service, "prompt", p.ids)) return e;
    if (p.ids.size() < before) p.text = service.tokenizer().decode(p.ids, false);
    if (!o.echo) p.text.clear();
    add_choices(c, p.ids, {}, choices);
  }
  o.head = answer_head("cmpl-", c.request_id, "text_completion", service);
  o.n = c.n, o.stream = c.stream, o.include_usage = c.include_usage;
  o.tokens_as_ids = c.tokens_as_ids, o.return_token_ids = c.return_token_ids;
  follow_answers(service, std::move(choices), responder,
                 std::make_unique<CompletionAnswer>(std::move(o), service, responder));
  return std::nullopt;
}

}  // namespace

void add_completions_route(Router& router, Service& service) {
  router.add("POST", "/v1/completions",
             json_route(service, [&service](const HttpRequest& q, const json::object& body, const Responder& r) {
               return complete(service, q, body, r);
             }));
}

}  // namespace sluice
