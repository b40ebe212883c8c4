#include "server/chat_answer.h"

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "server/sse.h"

namespace sluice {
namespace {

namespace json = boost::json;

// Both names in use: `reasoning_content` is the older.
json::object reasoning_delta(const std::string& text) { return {{"reasoning", text}, {"reasoning_content", text}}; }

}  // namespace

ChatAnswer::ChatAnswer(ChatAnswerOptions options, const Service& service, Responder responder)
    : o_(std::move(options)), service_(service), responder_(std::move(responder)) {
  for (int i = 0; i < o_.n; ++i) choices_.emplace_back(o_);
}

void ChatAnswer::begin() {
  if (!o_.stream) return;
  responder_.begin_sse();
  for (size_t i = 0; i < choices_.size(); ++i) {
    json::object d = {{"role", "assistant"}, {"content", ""}};
    chunk(i, std::move(d), nullptr);
    if (!o_.echo.empty()) chunk(i, {{"content", o_.echo}}, nullptr);
  }
  responder_.write(std::exchange(out_, {}));
}

void ChatAnswer::event(size_t index, const Event& e) {
  Choice& c = choices_[index];
  if (index == 0) prompt_logprobs_.insert(prompt_logprobs_.end(), e.prompt_logprobs.begin(), e.prompt_logprobs.end());
  take_tokens(c, e);
  for (const OutputEvent& part : c.parts.take(e)) {
    json::object d = delta(c, part);
    if (!d.empty() && o_.stream) chunk(index, std::move(d), nullptr);
  }
  if (e.finish != FinishReason::kNone) finish_choice(index, e);
  if (!out_.empty()) responder_.write(std::exchange(out_, {}));
}

void ChatAnswer::take_tokens(Choice& c, const Event& e) {
  // A token that only ended the answer has no place in its text.
  const size_t shown = e.tokens.size() - (ends_with_stop_token(e) && !o_.include_stop ? 1 : 0);
  for (size_t i = 0; i < e.tokens.size(); ++i) {
    const SampledToken& t = e.tokens[i];
    if (o_.return_token_ids) c.ids.push_back(t.id);
    if (o_.logprobs && i < shown) c.logprobs.push_back(t);
  }
}

json::object ChatAnswer::delta(Choice& c, const OutputEvent& part) {
  if (const auto* r = std::get_if<ReasoningDelta>(&part)) {
    if (!o_.include_reasoning) return {};
    c.reasoning += r->text;
    return reasoning_delta(r->text);
  }
  if (const auto* t = std::get_if<ContentDelta>(&part)) {
    c.content += t->text;
    return {{"content", t->text}};
  }
  const auto call = [](int index, json::object function) {
    return json::object{{"tool_calls", json::array{{{"index", index}, {"function", std::move(function)}}}}};
  };
  if (const auto* s = std::get_if<ToolCallStart>(&part)) {
    c.calls.push_back({random_id("call_"), s->name, {}});
    json::object d = call(s->index, {{"name", s->name}, {"arguments", ""}});
    json::object& first = d["tool_calls"].get_array()[0].get_object();
    first["id"] = c.calls.back().id, first["type"] = "function";
    return d;
  }
  if (const auto* a = std::get_if<ToolArgumentsDelta>(&part)) {
    c.calls[size_t(a->index)].arguments += a->json;
    return call(a->index, {{"arguments", a->json}});
  }
  c.broken_call = c.broken_call || !std::get<ToolCallEnd>(part).complete;
  return {};
}

void ChatAnswer::finish_choice(size_t index, const Event& e) {
  Choice& c = choices_[index];
  // A call that broke off is not to be run: the reason stays what it is.
  const bool calls = !c.calls.empty() && !c.broken_call && e.finish == FinishReason::kStop;
  c.finish = calls ? "tool_calls" : openai_finish_reason(e.finish);
  c.stop_reason = stop_reason(e, service_);
  usage_.add(e.usage, index == 0, c.parts.reasoning_tokens());
  if (o_.stream) chunk(index, {}, c.finish);
}

json::value ChatAnswer::take_logprobs(Choice& c) {
  if (!o_.logprobs) return nullptr;
  json::array content;
  for (const SampledToken& t : std::exchange(c.logprobs, {}))
    content.push_back(logprob_object(t, service_.tokenizer(), o_.tokens_as_ids));
  return json::object{{"content", std::move(content)}, {"refusal", nullptr}};
}

void ChatAnswer::chunk(size_t index, json::object delta, const char* finish) {
  Choice& c = choices_[index];
  json::object choice = {{"index", index}, {"delta", std::move(delta)}};
  choice["logprobs"] = c.logprobs.empty() ? json::value() : take_logprobs(c);
  choice["finish_reason"] = finish ? json::value(finish) : json::value();
  if (finish) choice["stop_reason"] = c.stop_reason;
  if (o_.return_token_ids) choice["token_ids"] = ids_array(std::exchange(c.ids, {}));
  json::object o = o_.head.start();
  o["choices"] = json::array{std::move(choice)};
  if (o_.include_usage) o["usage"] = nullptr;
  out_ += sse_event(json::serialize(o));
}

json::object ChatAnswer::choice_object(size_t index) {
  Choice& c = choices_[index];
  json::object message = {{"role", "assistant"}};
  message["content"] = c.content.empty() && !c.calls.empty() ? json::value() : json::value(c.content);
  message["refusal"] = nullptr;
  const json::value reasoning = c.reasoning.empty() ? json::value() : json::value(c.reasoning);
  message["reasoning"] = reasoning, message["reasoning_content"] = reasoning;
  json::array calls;
  for (const Call& call : c.calls)
    calls.push_back({{"id", call.id}, {"type", "function"}, {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
  if (!calls.empty()) message["tool_calls"] = std::move(calls);
  json::object choice = {{"index", index}, {"message", std::move(message)}};
  choice["logprobs"] = take_logprobs(c);
  choice["finish_reason"] = c.finish;
  choice["stop_reason"] = c.stop_reason;
  if (o_.return_token_ids) choice["token_ids"] = ids_array(c.ids);
  return choice;
}

void ChatAnswer::end() {
  json::object o = o_.head.start();
  json::array choices;
  if (o_.stream) {
    std::string last;
    if (o_.include_usage) {
      o["choices"] = std::move(choices), o["usage"] = usage_object(usage_);
      last = sse_event(json::serialize(o));
    }
    responder_.write(last + sse_event("[DONE]"));
    return responder_.finish();
  }
  for (size_t i = 0; i < choices_.size(); ++i) choices.push_back(choice_object(i));
  o["choices"] = std::move(choices);
  o["usage"] = usage_object(usage_);
  if (o_.prompt_logprobs) o["prompt_logprobs"] = prompt_logprobs_array(prompt_logprobs_, service_.tokenizer());
  if (o_.return_token_ids) o["prompt_token_ids"] = ids_array(o_.prompt);
  respond_json(responder_, o);
}

void ChatAnswer::fail(const ApiError& error, bool begun) {
  if (!o_.stream || !begun) return responder_.respond(error_response(error));
  responder_.write(error_event(error));
  responder_.finish();
}

}  // namespace sluice
