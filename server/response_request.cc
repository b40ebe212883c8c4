#include "server/response_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/value.hpp>
#include <string>

#include "server/response_input.h"
#include "server/sampling_fields.h"

namespace sluice {
namespace {

namespace json = boost::json;

constexpr int64_t kMaxToolCalls = 1 << 20;
constexpr size_t kMaxIncludes = 32, kMaxIncludeBytes = 64;
constexpr size_t kMaxMetadata = 16, kMaxMetadataKey = 64, kMaxMetadataValue = 512;

// Fields that need an earlier answer, or one that can be asked for later.
void check_kept_fields(const RequestFields& f) {
  for (const char* key : {"previous_response_id", "conversation"})
    if (f.has(key)) f.fail(key, "this server keeps no responses; send the whole conversation as input");
  if (f.has("prompt")) f.fail("prompt", "this server keeps no prompts; send instructions and input");
  if (f.boolean("background").value_or(false)) f.fail("background", "is true, and this server keeps no responses: wait, or stream");
}

void check_absent_fields(const RequestFields& f, const CommonFields& c) {
  for (const char* key : {"context_management", "moderation", "prompt_logprobs"})
    if (f.has(key)) f.unsupported(key, "is not offered");
  if (c.n > 1) f.unsupported("n", "a response has one answer");
  if (c.return_token_ids) f.unsupported("return_token_ids", "a response has no place for them");
}

void check_text(const RequestFields& f) {
  const json::object* text = f.object("text");
  if (!text) return;
  const RequestFields t(*text, f.error(), "text.");
  t.choice("verbosity", {"low", "medium", "high"});
  check_format(t, "format");
}

void check_metadata(const RequestFields& f) {
  const json::object* metadata = f.object("metadata");
  if (!metadata) return;
  if (metadata->size() > kMaxMetadata)
    f.fail("metadata", fmt::format("has {} members, wanted at most {}", metadata->size(), kMaxMetadata));
  const RequestFields m(*metadata, f.error(), "metadata.");
  for (const auto& member : *metadata) {
    if (member.key().size() > kMaxMetadataKey)
      return f.fail("metadata", fmt::format("has a key of {} bytes, wanted at most {}", member.key().size(), kMaxMetadataKey));
    if (!m.string(member.key(), kMaxMetadataValue)) m.fail(member.key(), "is null, wanted a string");
  }
}

// Whether the answer's text comes with log-probabilities. All else that can be asked for is of tools or inputs that are not there.
bool read_include(const RequestFields& f) {
  constexpr std::string_view kLogprobs = "message.output_text.logprobs";
  constexpr std::string_view kKnown[] = {kLogprobs,
                                         "reasoning.encrypted_content",
                                         "file_search_call.results",
                                         "web_search_call.results",
                                         "web_search_call.action.sources",
                                         "message.input_image.image_url",
                                         "computer_call_output.output.image_url",
                                         "code_interpreter_call.outputs"};
  const auto names = f.strings("include", kMaxIncludes, kMaxIncludeBytes, false);
  if (!names) return false;
  for (const std::string& name : *names)
    if (std::ranges::find(kKnown, name) == std::end(kKnown)) f.fail("include", "'" + name + "' is not known");
  return std::ranges::find(*names, kLogprobs) != names->end();
}

// The field as it was sent, or what is put in its place.
json::value given(const json::object& body, std::string_view key, json::value otherwise = nullptr) {
  const json::value* v = body.if_contains(key);
  return v && !v->is_null() ? *v : otherwise;
}

// As it is written in decimal: 0.7, not 0.699999988.
double shown_number(float value) { return std::stod(fmt::format("{}", value)); }

json::object text_object(const json::object& body) {
  const json::value text = given(body, "text", json::object());
  return {{"format", {{"type", "text"}}}, {"verbosity", given(text.get_object(), "verbosity", "medium")}};
}

json::object reasoning_object(const json::object& body) {
  const json::value reasoning = given(body, "reasoning", json::object());
  return {{"effort", given(reasoning.get_object(), "effort")}, {"summary", nullptr}};
}

// All of a response that is known before its answer: what the request said, and what was put in its place.
json::object response_head(const json::object& body, const CommonFields& c, const ServedModel& served) {
  const AnswerHead head = answer_head("resp_", c.request_id, "response", served);
  const SamplingParams& p = c.request.sampling.params;
  json::object o = {{"id", head.id}, {"object", head.object}, {"created_at", head.created}, {"status", nullptr}};
  for (const char* key : {"completed_at", "error", "incomplete_details", "usage", "previous_response_id", "conversation", "prompt"})
    o[key] = nullptr;
  o["model"] = head.model;
  o["output"] = json::array();
  o["background"] = false, o["store"] = false;  // whatever was asked for
  for (const char* key : {"instructions", "max_output_tokens", "max_tool_calls", "prompt_cache_key", "safety_identifier", "user"})
    o[key] = given(body, key);
  o["metadata"] = given(body, "metadata", json::object());
  o["parallel_tool_calls"] = given(body, "parallel_tool_calls", true);
  o["reasoning"] = reasoning_object(body);
  o["service_tier"] = "default";
  o["temperature"] = shown_number(p.temperature), o["top_p"] = shown_number(p.top_p);
  o["text"] = text_object(body);
  o["tool_choice"] = given(body, "tool_choice", "auto");
  o["tools"] = given(body, "tools", json::array());
  o["top_logprobs"] = c.request.top_logprobs;
  o["truncation"] = given(body, "truncation", "disabled");
  return o;
}

// Whether an input that is too long loses its oldest turns.
bool read_truncation(const RequestFields& f) { return f.choice("truncation", {"auto", "disabled"}) == "auto"; }

}  // namespace

MaybeError read_response_request(const json::object& body, const ServedModel& served, ResponseRequest& out) {
  MaybeError error;
  const RequestFields f(body, error);
  // The first is Responses' own; the others are of who comes from chat.
  const std::initializer_list<std::string_view> lengths = {"max_output_tokens", "max_completion_tokens", "max_tokens"};
  CommonFields c = read_common_fields(f, served, served.max_context(), lengths);
  for (const std::string_view key : lengths)
    if (f.integer(key, 0, served.max_context()) == 0) f.fail(key, "is 0, wanted at least 1");
  check_kept_fields(f);
  check_absent_fields(f, c);
  check_text(f);
  check_metadata(f);
  f.integer("max_tool_calls", 1, kMaxToolCalls);  // of tools that the server would run
  ResponseAnswerOptions& o = out.answer;
  o.logprobs = read_include(f);
  c.request.top_logprobs = int(f.integer("top_logprobs", 0, kMaxTopLogprobs).value_or(0));
  o.include_reasoning = f.boolean("include_reasoning").value_or(true);
  o.parallel_calls = f.boolean("parallel_tool_calls").value_or(true);
  const bool newest = read_truncation(f);
  ChatInput input = read_response_input(f, served);
  if (error) return error;

  ChatPrompt prompt;
  if (auto e = newest ? render_newest(input, served, c.request.max_tokens, prompt) : render_chat(input, served, prompt)) return e;
  if (auto e = fit_prompt(c, served, "input", prompt.ids)) return e;
  if (c.keep_prompt_tokens) prompt.boundaries.clear();  // they count from the start that may be cut

  o.response = response_head(body, c, served);
  o.stream = c.stream, o.tokens_as_ids = c.tokens_as_ids, o.include_stop = c.request.include_stop;
  o.format = output_format(input, prompt, served);
  o.tools = input.tools;
  if (!o.logprobs) c.request.top_logprobs = 0;
  add_choices(c, prompt.ids, prompt.boundaries, out.choices);
  return std::nullopt;
}

MaybeError read_response_prompt(const json::object& body, const ServedModel& served, ChatPrompt& out) {
  MaybeError error;
  const RequestFields f(body, error);
  check_model(f, served);
  check_kept_fields(f);
  check_text(f);
  const bool newest = read_truncation(f);
  ChatInput input = read_response_input(f, served);
  if (error) return error;
  return newest ? render_newest(input, served, served.max_context(), out) : render_chat(input, served, out);
}

}  // namespace sluice
