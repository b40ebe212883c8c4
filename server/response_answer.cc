#include "server/response_answer.h"

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <ctime>

#include "server/sse.h"

namespace sluice {
namespace {

namespace json = boost::json;

json::object usage_of(const UsageSum& u) {
  // Nothing is charged for what the prefix cache keeps, and it promises nothing: no tokens count as written.
  return {{"input_tokens", u.prompt_tokens},
          {"input_tokens_details", {{"cached_tokens", u.cached_tokens}, {"cache_write_tokens", 0}}},
          {"output_tokens", u.completion_tokens},
          {"output_tokens_details", {{"reasoning_tokens", u.reasoning_tokens}}},
          {"total_tokens", u.prompt_tokens + u.completion_tokens}};
}

// OpenAI has a list of its own for answers that fail.
const char* failure_code(const ApiError& error) {
  if (error.status == 429) return "rate_limit_exceeded";
  return error.status < 500 ? "invalid_prompt" : "server_error";
}

}  // namespace

ResponseAnswer::ResponseAnswer(ResponseAnswerOptions options, const Service& service, Responder responder)
    : o_(std::move(options)),
      service_(service),
      responder_(std::move(responder)),
      parts_(o_.format, o_.tools, o_.parallel_calls),
      tokens_(service.tokenizer()) {}

void ResponseAnswer::begin() {
  if (!o_.stream) return;
  responder_.begin_sse();
  for (const char* type : {"response.created", "response.in_progress"}) emit(type, {{"response", response_object("in_progress")}});
  flush();
}

void ResponseAnswer::event(size_t, const Event& e) {
  // A token that only ended the answer has no place in its text.
  const size_t shown = e.tokens.size() - (ends_with_stop_token(e) && !o_.include_stop ? 1 : 0);
  for (size_t i = 0; o_.logprobs && i < shown; ++i) tokens_.add(e.tokens[i]);
  for (const OutputEvent& part : parts_.take(e)) take(part);
  if (e.finish != FinishReason::kNone) {
    finish_ = e.finish;
    usage_.add(e.usage, true, parts_.reasoning_tokens());
  }
  flush();
}

void ResponseAnswer::take(const OutputEvent& part) {
  if (const auto* r = std::get_if<ReasoningDelta>(&part)) {
    tokens_.take(r->text);
    if (o_.include_reasoning) add_text(Kind::kReasoning, r->text, {});
  } else if (const auto* c = std::get_if<ContentDelta>(&part)) {
    add_text(Kind::kMessage, c->text, logprobs_of(tokens_.take(c->text)));
  } else if (const auto* s = std::get_if<ToolCallStart>(&part)) {
    open(Kind::kCall, s->name);
  } else if (const auto* a = std::get_if<ToolArgumentsDelta>(&part)) {
    add(a->json, {});
  } else {
    tokens_.clear();  // what a call was written with is not its arguments
    // One that broke off is not to be run.
    close(std::get<ToolCallEnd>(part).complete ? "completed" : "incomplete");
  }
}

void ResponseAnswer::open(Kind kind, const std::string& name) {
  if (open_) close("completed");
  const char* prefix = kind == Kind::kReasoning ? "rs_" : kind == Kind::kMessage ? "msg_" : "fc_";
  items_.push_back({kind, random_id(prefix), name, kind == Kind::kCall ? random_id("call_") : "", {}, {}});
  open_ = true;
  if (!o_.stream) return;
  emit("response.output_item.added", {{"output_index", items_.size() - 1}, {"item", item_object(items_.back(), true)}});
  if (kind == Kind::kCall) return;
  json::object event = place();
  event["part"] = part_object(items_.back());
  emit("response.content_part.added", std::move(event));
}

void ResponseAnswer::add_text(Kind kind, const std::string& text, json::array logprobs) {
  if (!open_ || items_.back().kind != kind) open(kind);
  add(text, std::move(logprobs));
}

void ResponseAnswer::add(const std::string& text, json::array logprobs) {
  Item& item = items_.back();
  item.text += text;
  item.logprobs.insert(item.logprobs.end(), logprobs.begin(), logprobs.end());
  if (!o_.stream) return;
  json::object event = place();
  event["delta"] = text;
  if (item.kind == Kind::kMessage) event["logprobs"] = std::move(logprobs);
  emit(item.kind == Kind::kReasoning ? "response.reasoning_text.delta"
       : item.kind == Kind::kMessage ? "response.output_text.delta"
                                     : "response.function_call_arguments.delta",
       std::move(event));
}

void ResponseAnswer::close(const char* status) {
  Item& item = items_.back();
  item.status = status;
  open_ = false;
  repeats_ = true;
  if (!o_.stream) return;
  json::object done = place();
  if (item.kind == Kind::kCall) {
    done["name"] = item.name, done["arguments"] = item.text;
    emit("response.function_call_arguments.done", std::move(done));
  } else {
    json::object part = done;
    part["part"] = part_object(item);
    done["text"] = item.text;
    if (item.kind == Kind::kMessage) done["logprobs"] = item.logprobs;
    emit(item.kind == Kind::kMessage ? "response.output_text.done" : "response.reasoning_text.done", std::move(done));
    emit("response.content_part.done", std::move(part));
  }
  emit("response.output_item.done", {{"output_index", items_.size() - 1}, {"item", item_object(item, false)}});
}

json::array ResponseAnswer::logprobs_of(const std::vector<SampledToken>& tokens) const {
  json::array out;
  for (const SampledToken& t : tokens) out.push_back(logprob_object(t, service_.tokenizer(), o_.tokens_as_ids));
  return out;
}

json::object ResponseAnswer::part_object(const Item& item) {
  if (item.kind == Kind::kReasoning) return {{"type", "reasoning_text"}, {"text", item.text}};
  return {{"type", "output_text"}, {"text", item.text}, {"annotations", json::array()}, {"logprobs", item.logprobs}};
}

// begun: as it is before its content.
json::object ResponseAnswer::item_object(const Item& item, bool begun) {
  json::object o = {{"id", item.id}, {"status", item.status}};
  if (item.kind == Kind::kCall) {
    o["type"] = "function_call";
    o["call_id"] = item.call_id, o["name"] = item.name, o["arguments"] = item.text;
    return o;
  }
  if (item.kind == Kind::kReasoning) o["type"] = "reasoning", o["summary"] = json::array(), o["encrypted_content"] = nullptr;
  else o["type"] = "message", o["role"] = "assistant";
  o["content"] = begun ? json::array() : json::array{part_object(item)};
  return o;
}

json::object ResponseAnswer::place() const {
  json::object o = {{"item_id", items_.back().id}, {"output_index", items_.size() - 1}};
  if (items_.back().kind != Kind::kCall) o["content_index"] = 0;
  return o;
}

void ResponseAnswer::emit(const char* type, json::object event) {
  event["type"] = type;
  event["sequence_number"] = sequence_++;
  out_ += sse_event(json::serialize(event), type);
}

void ResponseAnswer::flush() {
  const bool repeats = std::exchange(repeats_, false);
  if (out_.empty()) return;
  if (repeats) responder_.write_repeat(std::exchange(out_, {}));
  else responder_.write(std::exchange(out_, {}));
}

json::object ResponseAnswer::response_object(const char* status) {
  repeats_ = true;
  json::object o = o_.response;
  o["status"] = status;
  json::array output;
  for (const Item& item : items_) output.push_back(item_object(item, false));
  o["output"] = std::move(output);
  return o;
}

void ResponseAnswer::end() {
  const bool cut = finish_ == FinishReason::kLength;
  if (items_.empty()) open(Kind::kMessage);  // clients look for one
  if (open_) close(cut ? "incomplete" : "completed");
  json::object o = response_object(cut ? "incomplete" : "completed");
  if (cut) o["incomplete_details"] = {{"reason", "max_output_tokens"}};
  else o["completed_at"] = int64_t(std::time(nullptr));
  o["usage"] = usage_of(usage_);
  if (!o_.stream) return respond_json(responder_, o);
  emit(cut ? "response.incomplete" : "response.completed", {{"response", std::move(o)}});
  flush();
  responder_.finish();
}

void ResponseAnswer::fail(const ApiError& error, bool begun) {
  if (!o_.stream || !begun) return responder_.respond(error_response(error));
  if (open_) close("incomplete");
  emit("error", {{"code", error.code.empty() ? json::value(error.type) : json::value(error.code)},
                 {"message", error.message},
                 {"param", error.param.empty() ? json::value() : json::value(error.param)}});
  json::object o = response_object("failed");
  o["error"] = {{"code", failure_code(error)}, {"message", error.message}};
  emit("response.failed", {{"response", std::move(o)}});
  flush();
  responder_.finish();
}

}  // namespace sluice
