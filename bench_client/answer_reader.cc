#include "bench_client/answer_reader.h"

#include <boost/json.hpp>

namespace sluice::bench {
namespace {

namespace json = boost::json;

const json::object* object_in(const json::object& o, std::string_view key) {
  const json::value* v = o.if_contains(key);
  return v ? v->if_object() : nullptr;
}

std::string_view string_in(const json::object& o, std::string_view key) {
  const json::value* v = o.if_contains(key);
  const json::string* s = v ? v->if_string() : nullptr;
  return s ? std::string_view(*s) : std::string_view();
}

// -1: not there or no count.
int64_t count_in(const json::object& o, std::string_view key) {
  const json::value* v = o.if_contains(key);
  boost::system::error_code ec;
  const int64_t n = v ? v->to_number<int64_t>(ec) : -1;
  return ec || n < 0 ? -1 : n;
}

std::string start_of(std::string_view s) { return std::string(s.substr(0, 120)); }

}  // namespace

void AnswerReader::fail(const char* kind, std::string detail) {
  if (!record_.ok()) return;
  record_.error = kind;
  record_.detail = std::move(detail);
}

void AnswerReader::feed(std::string_view bytes, double now) {
  if (!sse_.feed(bytes, [&](std::string_view data) { event(data, now); })) fail(kMalformed, "an event is over 16 MiB");
}

void AnswerReader::event(std::string_view data, double now) {
  if (done_ || failed()) return;
  if (data == "[DONE]") {
    done_ = true;
    return;
  }
  boost::system::error_code ec;
  const json::value v = json::parse(data, ec);
  const json::object* o = ec ? nullptr : v.if_object();
  if (!o) return fail(kMalformed, "an event is not a JSON object: " + start_of(data));
  read(*o, now);
}

void AnswerReader::read(const json::object& o, double now) {
  if (const json::value* error = o.if_contains("error"); error && !error->is_null()) {
    const json::object* e = error->if_object();
    const std::string_view message = e ? string_in(*e, "message") : std::string_view();
    return fail(kServerError, message.empty() ? start_of(json::serialize(*error)) : start_of(message));
  }
  if (const json::object* usage = object_in(o, "usage")) note_usage(*usage);
  const json::value* list = o.if_contains("choices");
  const json::array* choices = list ? list->if_array() : nullptr;
  if (!choices || choices->empty()) return;
  const json::object* choice = choices->front().if_object();
  if (!choice) return fail(kMalformed, "a choice is not an object");
  const json::value* reason = choice->if_contains("finish_reason");
  const bool last = reason && !reason->is_null();
  last_choice_ = now;
  finished_ |= last;
  if (!chat_) {
    const std::string_view text = string_in(*choice, "text");
    text_ += text;
    // A token may have no text of its own, half a character for one; the event that only says why it ended has none either.
    if (!text.empty() || !last) note_output(now);
    return;
  }
  const json::object* delta = object_in(*choice, "delta");
  if (!delta) return;
  const std::string_view content = string_in(*delta, "content");
  text_ += content;
  const json::value* tools = delta->if_contains("tool_calls");
  const bool calls = tools && tools->is_array() && !tools->get_array().empty();
  // The first event often has only a role: that is no token.
  if (!content.empty() || !string_in(*delta, "reasoning_content").empty() || !string_in(*delta, "reasoning").empty() || calls)
    note_output(now);
}

void AnswerReader::note_output(double now) {
  if (outputs_++ == 0) record_.first = now;
  else record_.gaps.push_back(float(now - record_.last));
  record_.last = now;
}

void AnswerReader::note_usage(const json::object& usage) {
  const int64_t in = count_in(usage, "prompt_tokens"), out = count_in(usage, "completion_tokens");
  if (in >= 0) record_.input_tokens = in;
  if (out >= 0) record_.output_tokens = out;
  has_usage_ |= in >= 0 && out >= 0;
  if (const json::object* details = object_in(usage, "prompt_tokens_details"))
    record_.cached_tokens = std::max<int64_t>(0, count_in(*details, "cached_tokens"));
}

void AnswerReader::finish(double now) {
  record_.end = now;
  record_.counted_by_server = has_usage_;
  if (failed()) return;
  if (!done_ && !sse_.between_events()) return fail(kCutShort, "the stream ended within an event");
  if (!done_ && !finished_) return fail(kCutShort, "the stream ended before [DONE] or a finish_reason");
  if (outputs_ == 0) {
    if (record_.output_tokens == 0 || last_choice_ == 0) return fail(kNoOutput, "the answer has no token");
    note_output(last_choice_);  // tokens without any text: when the server said that it is over
  }
  if (!has_usage_) record_.output_tokens = outputs_;
}

}  // namespace sluice::bench
