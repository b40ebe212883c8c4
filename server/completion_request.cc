#include "server/completion_request.h"

#include <algorithm>

#include "server/sampling_fields.h"

namespace sluice {
namespace {

namespace json = boost::json;

constexpr int64_t kDefaultMaxTokens = 16;  // OpenAI's
constexpr size_t kMaxPrompts = 256;

CompletionPrompt text_prompt(std::string_view text, const ServedModel& served, bool parse_special) {
  return {served.tokenizer().encode(text, parse_special), std::string(text)};
}

// A text, a list of texts, a list of token ids, or a list of such lists.
void read_prompts(const RequestFields& f, const ServedModel& served, const CommonFields& c, std::vector<CompletionPrompt>& out) {
  const json::value* prompt = f.find("prompt");
  if (!prompt) return f.fail("prompt", "is missing");
  const auto from_ids = [&](const json::array& list, const std::string& where) {
    CompletionPrompt p;
    if (auto e = read_token_ids(list, served.vocab_size(), where, p.ids)) {
      e->param = "prompt";
      f.error() = std::move(e);
    }
    p.text = served.tokenizer().decode(p.ids, false);
    out.push_back(std::move(p));
  };
  if (prompt->is_string()) {
    out.push_back(text_prompt(prompt->get_string(), served, c.parse_special));
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
    if (texts && item.is_string()) out.push_back(text_prompt(item.get_string(), served, c.parse_special));
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

}  // namespace

MaybeError read_completion_request(const json::object& body, const ServedModel& served, CompletionRequest& out) {
  MaybeError error;
  const RequestFields f(body, error);
  CommonFields c = read_common_fields(f, served, kDefaultMaxTokens);
  CompletionAnswerOptions& o = out.answer;
  o.prompt_logprobs = c.request.prompt_logprobs >= 0;
  read_logprobs(f, c.request, o);
  if (const auto suffix = f.string("suffix", 1 << 20); suffix && !suffix->empty())
    f.fail("suffix", "the model cannot fill in between two texts");
  if (f.has("prompt_embeds")) f.fail("prompt_embeds", "is not read; give text or token ids");
  read_prompts(f, served, c, o.prompts);
  if (f.ok() && int64_t(o.prompts.size()) * c.n > served.queue_limits().waiting_requests)
    f.fail("prompt", "has more choices than the server's queue holds, " + std::to_string(served.queue_limits().waiting_requests));
  if (error) return error;

  int64_t scores = 0;
  for (CompletionPrompt& p : o.prompts) {
    const size_t before = p.ids.size();
    if (auto e = fit_prompt(c, served, "prompt", p.ids)) return e;
    if (p.ids.size() < before) p.text = served.tokenizer().decode(p.ids, false);
    if (!o.echo) p.text.clear();
    scores += prompt_logprob_count(c, p.ids);
    if (auto e = check_prompt_logprobs(scores, "prompt")) return e;
    add_choices(c, p.ids, {}, out.choices);
  }
  o.head = answer_head("cmpl-", c.request_id, "text_completion", served);
  o.n = c.n, o.stream = c.stream, o.include_usage = c.include_usage;
  o.tokens_as_ids = c.tokens_as_ids, o.return_token_ids = c.return_token_ids;
  return std::nullopt;
}

}  // namespace sluice
