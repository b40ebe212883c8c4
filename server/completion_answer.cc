#include "server/completion_answer.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "engine/scheduler.h"
#include "server/sse.h"

namespace sluice {
namespace {

namespace json = boost::json;

int64_t characters(std::string_view text) {
  return std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

}  // namespace

void LegacyLogprobs::add_token(int32_t id) {
  fresh_ = false;
  tokens_.push_back(json::value(shown_token(tokenizer_, id, as_ids_)));
  offsets_.push_back(offset_);
  offset_ += characters(tokenizer_.token_bytes(id));
}

void LegacyLogprobs::add_first(int32_t id) {
  add_token(id);
  logprobs_.push_back(nullptr), top_.push_back(nullptr);
}

void LegacyLogprobs::add(const SampledToken& t) {
  json::object top;
  // Two tokens may have one spelling; the better is kept. The drawn one is always there.
  const auto add = [&](const TokenLogprob& p) {
    const std::string shown = shown_token(tokenizer_, p.id, as_ids_);
    const double logprob = finite_logprob(p.logprob);
    if (!top.contains(shown) || top[shown].get_double() < logprob) top[shown] = logprob;
  };
  for (const TokenLogprob& b : t.best) add(b);
  add(t);
  add_token(t.id);
  logprobs_.push_back(finite_logprob(t.logprob)), top_.push_back(std::move(top));
}

json::object LegacyLogprobs::take() {
  return {{"text_offset", std::exchange(offsets_, {})},
          {"token_logprobs", std::exchange(logprobs_, {})},
          {"tokens", std::exchange(tokens_, {})},
          {"top_logprobs", std::exchange(top_, {})}};
}

CompletionAnswer::CompletionAnswer(CompletionAnswerOptions options, const Service& service, Responder responder)
    : o_(std::move(options)), service_(service), responder_(std::move(responder)) {
  for (size_t i = 0; i < o_.prompts.size() * size_t(o_.n); ++i)
    choices_.emplace_back(LegacyLogprobs(service.tokenizer(), o_.tokens_as_ids));
}

void CompletionAnswer::begin() {
  if (o_.stream) responder_.begin_sse();
}

void CompletionAnswer::event(size_t index, const Event& e) {
  Choice& c = choices_[index];
  c.prompt_logprobs.insert(c.prompt_logprobs.end(), e.prompt_logprobs.begin(), e.prompt_logprobs.end());
  const bool finished = e.finish != FinishReason::kNone;
  if (o_.echo && !c.echoed && (finished || !e.tokens.empty())) c.text = prompt_of(index).text, c.echoed = true;
  c.text += e.text;
  if (o_.return_token_ids || o_.logprobs) c.tokens.insert(c.tokens.end(), e.tokens.begin(), e.tokens.end());
  if (finished) {
    c.finish = openai_finish_reason(e.finish);
    c.stop_reason = stop_reason(e, service_);
    usage_.add(e.usage, index % size_t(o_.n) == 0);
  }
  if (!o_.stream) return;
  c.held = !prompt_scored(index);
  if (!c.held) write_chunk(index);
  for (size_t other = first_of(index); other < first_of(index) + size_t(o_.n); ++other)
    if (choices_[other].held && prompt_scored(other)) choices_[other].held = false, write_chunk(other);
}

bool CompletionAnswer::prompt_scored(size_t choice) const {
  return !o_.echo || !o_.logprobs || choices_[first_of(choice)].prompt_logprobs.size() + 1 >= prompt_of(choice).ids.size();
}

void CompletionAnswer::write_chunk(size_t index) {
  const Choice& c = choices_[index];
  if (!c.text.empty() || c.finish) responder_.write(sse_event(json::serialize(answer_object({choice_object(index)}))));
}

// The prompt's come first where it is echoed, once.
json::object CompletionAnswer::logprobs_object(size_t index, const std::vector<SampledToken>& tokens) {
  Choice& c = choices_[index];
  if (c.echoed && c.logprobs.fresh()) {
    c.logprobs.add_first(prompt_of(index).ids[0]);
    for (const SampledToken& t : choices_[first_of(index)].prompt_logprobs) c.logprobs.add(t);
  }
  for (const SampledToken& t : tokens) c.logprobs.add(t);
  return c.logprobs.take();
}

json::object CompletionAnswer::choice_object(size_t index) {
  Choice& c = choices_[index];
  json::object o = {{"index", index}, {"text", std::exchange(c.text, {})}};
  const std::vector<SampledToken> tokens = std::exchange(c.tokens, {});
  o["logprobs"] = o_.logprobs ? json::value(logprobs_object(index, tokens)) : json::value();
  o["finish_reason"] = c.finish ? json::value(c.finish) : json::value();
  o["stop_reason"] = c.stop_reason;
  if (o_.return_token_ids) {
    o["token_ids"] = ids_array(ids_of(tokens));
    o["prompt_token_ids"] = ids_array(prompt_of(index).ids);
  }
  if (o_.prompt_logprobs && !o_.stream)
    o["prompt_logprobs"] =
        index % size_t(o_.n) == 0 ? prompt_logprobs_array(c.prompt_logprobs, service_.tokenizer()) : json::value();
  return o;
}

json::object CompletionAnswer::answer_object(json::array choices) const {
  json::object o = o_.head.start();
  o["choices"] = std::move(choices);
  if (o_.include_usage) o["usage"] = nullptr;
  return o;
}

void CompletionAnswer::end() {
  json::array choices;
  if (!o_.stream)
    for (size_t i = 0; i < choices_.size(); ++i) choices.push_back(choice_object(i));
  json::object o = answer_object(std::move(choices));
  o["usage"] = usage_object(usage_);
  if (!o_.stream) return respond_json(responder_, o);
  responder_.write((o_.include_usage ? sse_event(json::serialize(o)) : std::string()) + sse_event("[DONE]"));
  responder_.finish();
}

void CompletionAnswer::fail(const ApiError& error, bool begun) {
  if (!o_.stream || !begun) return responder_.respond(error_response(error));
  responder_.write(error_event(error));
  responder_.finish();
}

}  // namespace sluice
