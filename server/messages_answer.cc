#include "server/messages_answer.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <utility>

#include "server/openai_common.h"
#include "server/sse.h"

namespace sluice {
namespace {

namespace json = boost::json;

// An object with one more member, whose value is JSON already.
std::string with_member(const json::object& object, std::string_view key, std::string_view value) {
  std::string out = json::serialize(object);
  out.pop_back();
  out += (object.empty() ? "\"" : ",\"");
  return out.append(key).append("\":").append(value) + "}";
}

}  // namespace

MessagesAnswer::MessagesAnswer(MessagesAnswerOptions options, Responder responder)
    : o_(std::move(options)), responder_(std::move(responder)), parts_(o_.format, o_.tools, o_.parallel_calls) {}

void MessagesAnswer::begin() {
  if (o_.stream) responder_.begin_sse({anthropic_request_id(o_.request_id)});
}

void MessagesAnswer::event(size_t, const Event& e) {
  // Only now it is known what the prefix cache had, and clients read that from the first event.
  if (!std::exchange(started_, true)) start(e.usage);
  for (const OutputEvent& part : parts_.take(e)) take(part);
  if (e.finish != FinishReason::kNone) finish(e);
  if (!out_.empty()) responder_.write(std::exchange(out_, {}));
}

void MessagesAnswer::start(const Usage& usage) {
  json::object m = message(usage);
  m["content"] = json::array();
  send("message_start", {{"message", std::move(m)}});
  send("ping", {});
}

void MessagesAnswer::take(const OutputEvent& part) {
  if (const auto* r = std::get_if<ReasoningDelta>(&part)) return add(Kind::kThinking, r->text);
  if (const auto* t = std::get_if<ContentDelta>(&part)) return add(Kind::kText, t->text);
  if (const auto* s = std::get_if<ToolCallStart>(&part)) return open_block({Kind::kToolUse, {}, random_id("toolu_"), s->name});
  if (const auto* a = std::get_if<ToolArgumentsDelta>(&part)) return add(Kind::kToolUse, a->json);
  broken_call_ = broken_call_ || !std::get<ToolCallEnd>(part).complete;
  close_block();
}

void MessagesAnswer::open_block(Block b) {
  close_block();
  json::object start = {{"type", "text"}, {"text", ""}};
  if (b.kind == Kind::kThinking) start = {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}};
  if (b.kind == Kind::kToolUse) start = {{"type", "tool_use"}, {"id", b.id}, {"name", b.name}, {"input", json::object()}};
  open_ = b.kind;
  blocks_.push_back(std::move(b));
  send("content_block_start", {{"index", blocks_.size() - 1}, {"content_block", std::move(start)}});
}

void MessagesAnswer::close_block() {
  const size_t index = blocks_.size() - 1;
  const Kind kind = std::exchange(open_, Kind::kNone);
  if (kind == Kind::kNone) return;
  if (kind == Kind::kThinking)
    send("content_block_delta", {{"index", index}, {"delta", {{"type", "signature_delta"}, {"signature", o_.id}}}});
  send("content_block_stop", {{"index", index}});
}

void MessagesAnswer::add(Kind kind, const std::string& text) {
  if (open_ != kind) open_block({kind, {}, {}, {}});
  if (kind == Kind::kThinking && !o_.show_thinking) return;
  blocks_.back().text += text;
  json::object delta = {{"type", "text_delta"}, {"text", text}};
  if (kind == Kind::kThinking) delta = {{"type", "thinking_delta"}, {"thinking", text}};
  if (kind == Kind::kToolUse) delta = {{"type", "input_json_delta"}, {"partial_json", text}};
  send("content_block_delta", {{"index", blocks_.size() - 1}, {"delta", std::move(delta)}});
}

void MessagesAnswer::finish(const Event& e) {
  close_block();
  usage_ = e.usage;
  const bool calls = std::ranges::any_of(blocks_, [](const Block& b) { return b.kind == Kind::kToolUse; });
  // A call that broke off is not to be run: the reason stays what it is.
  if (e.finish == FinishReason::kLength) stop_reason_ = "max_tokens";
  else if (calls && !broken_call_) stop_reason_ = "tool_use";
  else if (e.stop_string.empty()) stop_reason_ = "end_turn";
  else stop_reason_ = "stop_sequence", stop_sequence_ = json::value(e.stop_string);
  send("message_delta",
       {{"delta", {{"stop_reason", stop_reason_}, {"stop_sequence", stop_sequence_}}}, {"usage", usage_object(usage_)}});
}

void MessagesAnswer::end() {
  if (!o_.stream) {
    std::string body = with_member(message(usage_), "content", content());
    return responder_.respond(200, {{"Content-Type", "application/json"}, anthropic_request_id(o_.request_id)}, std::move(body));
  }
  send("message_stop", {});
  responder_.write(std::exchange(out_, {}));
  responder_.finish();
}

void MessagesAnswer::fail(const ApiError& error, bool begun) {
  if (!o_.stream || !begun) return responder_.respond(anthropic_error_response(error, o_.request_id));
  responder_.write(sse_event(json::serialize(anthropic_error_object(error, o_.request_id)), "error"));
  responder_.finish();
}

void MessagesAnswer::send(std::string_view name, json::object data) {
  if (!o_.stream) return;
  json::object event = {{"type", name}};
  event.insert(data.begin(), data.end());
  out_ += sse_event(json::serialize(event), name);
}

json::object MessagesAnswer::message(const Usage& usage) const {
  return {{"id", o_.id},
          {"type", "message"},
          {"role", "assistant"},
          {"model", o_.model},
          {"stop_reason", stop_reason_},
          {"stop_sequence", stop_sequence_},
          {"usage", usage_object(usage)}};
}

// Other than with OpenAI the three kinds of input exclude each other. What is written to the cache is not counted apart.
json::object MessagesAnswer::usage_object(const Usage& u) const {
  return {{"input_tokens", u.prompt_tokens - u.cached_tokens},
          {"cache_creation_input_tokens", 0},
          {"cache_read_input_tokens", u.cached_tokens},
          {"output_tokens", u.completion_tokens},
          {"output_tokens_details", {{"thinking_tokens", parts_.reasoning_tokens()}}}};
}

// The input of a call is written as the model did: read and written again, a long number might come out as another.
std::string MessagesAnswer::content() const {
  std::string out = "[";
  for (const Block& b : blocks_) {
    if (out.size() > 1) out += ",";
    if (b.kind == Kind::kToolUse) out += with_member({{"type", "tool_use"}, {"id", b.id}, {"name", b.name}}, "input", b.text);
    else if (b.kind == Kind::kText) out += json::serialize(json::object{{"type", "text"}, {"text", b.text}});
    else out += json::serialize(json::object{{"type", "thinking"}, {"thinking", b.text}, {"signature", o_.id}});
  }
  return out + "]";
}

}  // namespace sluice
