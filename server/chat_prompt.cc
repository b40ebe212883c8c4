#include "server/chat_prompt.h"

#include <algorithm>
#include <boost/json/serialize.hpp>

#include "io/json.h"
#include "io/quote.h"
#include "text/markup.h"

namespace sluice {
namespace {

namespace json = boost::json;

json::array read_calls(const RequestFields& f) {
  json::array out;
  f.each_object("tool_calls", kMaxTools, [&](const RequestFields& c) {
    const std::string id = c.string("id", 1024).value_or("");
    c.choice("type", {"function"});
    const json::object* function = c.object("function");
    if (!function) return c.fail("function", "is missing");
    const RequestFields fn(*function, f.error(), c.name("function."));
    const auto name = fn.string("name", kMaxNameBytes);
    if (!name) fn.fail("name", "is missing");
    out.push_back(
        {{"id", id}, {"type", "function"}, {"function", {{"name", name.value_or("")}, {"arguments", read_arguments(fn)}}}});
  });
  return out;
}

json::object read_message(const RequestFields& f) {
  auto role = f.choice("role", {"system", "developer", "user", "assistant", "tool", "function"});
  if (!role) {
    f.fail("role", "is missing");
    return {};
  }
  if (role == "developer") role = "system";  // OpenAI's newer name for it, which templates do not know
  json::object m;
  const json::array calls = role == "assistant" ? read_calls(f) : json::array();
  if (!f.has("content") && role != "assistant") f.fail("content", "is missing");
  m["role"] = *role;
  m["content"] = read_text(f, "content");
  auto reasoning = f.string("reasoning_content", kMaxTextBytes);
  if (!reasoning) reasoning = f.string("reasoning", kMaxTextBytes);
  if (reasoning) m["reasoning_content"] = *reasoning;
  if (!calls.empty()) m["tool_calls"] = calls;
  for (const char* key : {"name", "tool_call_id"})
    if (const auto s = f.string(key, 1024)) m[key] = *s;
  return m;
}

json::array read_messages(const RequestFields& f) {
  json::array out;
  const json::value* messages = f.find("messages");
  if (!messages || (messages->is_array() && messages->get_array().empty()))
    f.fail("messages", messages ? "is empty" : "is missing");
  f.each_object("messages", kMaxMessages, [&](const RequestFields& m) { out.push_back(read_message(m)); });
  return out;
}

void check_tool(const RequestFields& f) {
  check_tool_type(f);
  const json::object* function = f.object("function");
  if (!function) return f.fail("function", "is missing");
  check_function(RequestFields(*function, f.error(), f.name("function.")));
}

json::value read_tools(const RequestFields& f, const ServedModel& served) {
  const json::array* tools = f.array("tools", kMaxTools);
  f.each_object("tools", kMaxTools, check_tool);
  for (const char* key : {"functions", "function_call"})
    if (f.has(key)) f.fail(key, "is the older form of tools, which is not read; use tools and tool_choice");
  return choose_tools(f, served, tools ? *tools : json::array());
}

std::string_view text_of(const ChatOutput& out, const ChatOutput::Run& run) {
  return std::string_view(out.text).substr(run.begin, run.end - run.begin);
}

// Cuts what the template put behind the last message, which is short. False: the message is not to be found.
bool cut_behind(ChatOutput& out, std::string_view content) {
  constexpr size_t kMaxBehind = 256;  // a search of all the text would be quadratic for who wants it so
  if (content.empty() || content.size() > out.text.size()) return false;
  size_t end = out.text.size();
  const size_t least = std::max(content.size(), end - std::min(end, kMaxBehind));
  while (end >= least && !std::string_view(out.text).substr(0, end).ends_with(content)) --end;
  if (end < least) return false;
  out.text.resize(end);
  while (!out.runs.empty() && out.runs.back().begin >= end) out.runs.pop_back();
  if (!out.runs.empty()) out.runs.back().end = std::min(out.runs.back().end, end);
  return true;
}

// Finds messages in the prompt by how their text begins, each behind or before the one found last. What a template has changed it
// may miss, or find in another place: boundaries only say where a snapshot would be of use.
class MessageFinder {
 public:
  explicit MessageFinder(const ChatOutput& out) : out_(out), end_(out.text.size()) {}

  // Byte at which it begins; npos: not there.
  size_t next(std::string_view content) {
    const std::string_view needle = needle_of(content);
    for (const ChatOutput::Run& run : out_.runs) {
      if (run.trusted || run.end <= begin_ || needle.empty()) continue;
      const size_t skip = std::max(begin_, run.begin) - run.begin;
      const size_t at = text_of(out_, run).find(needle, skip);
      if (at == std::string_view::npos) continue;
      begin_ = run.begin + at + trim(content).size();
      return run.begin + at;
    }
    return std::string::npos;
  }
  size_t previous(std::string_view content) {
    const std::string_view needle = needle_of(content);
    for (auto run = out_.runs.rbegin(); run != out_.runs.rend(); ++run) {
      if (run->trusted || run->begin >= end_ || needle.empty()) continue;
      const size_t at = text_of(out_, *run).substr(0, end_ - run->begin).rfind(needle);
      if (at != std::string_view::npos) return end_ = run->begin + at;
    }
    return std::string::npos;
  }

 private:
  // Short, so that a search is linear whatever the text.
  static std::string_view needle_of(std::string_view content) { return trim(content).substr(0, 32); }

  const ChatOutput& out_;
  size_t begin_ = 0, end_;
};

// Tokens that lie before a byte of the prompt. Exact but where the tokenizer has normalised the text, and then close by.
int64_t tokens_before(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, size_t byte) {
  size_t bytes = 0;
  int64_t n = 0;
  for (const int32_t id : ids) {
    bytes += tokenizer.token_bytes(id).size();
    if (bytes > byte) break;
    ++n;
  }
  return n;
}

// Where the first and the last user message begin, if they are close enough to the ends of the list: the text of the others has to
// be found as well.
std::vector<int64_t> find_boundaries(const ChatInput& input, const ChatOutput& out, const Tokenizer& tokenizer,
                                     const std::vector<int32_t>& ids) {
  constexpr size_t kMaxSteps = 8;
  std::vector<size_t> bytes;
  const auto& messages = input.messages;
  const size_t steps = std::min(kMaxSteps, messages.size());
  MessageFinder finder(out);
  const auto search = [&](bool forward) {
    for (size_t i = 0; i < steps; ++i) {
      const json::object& m = messages[forward ? i : messages.size() - 1 - i].get_object();
      const std::string_view content = m.at("content").get_string();
      const size_t at = forward ? finder.next(content) : finder.previous(content);
      if (m.at("role") != "user") continue;
      if (at != std::string::npos && at > 0) bytes.push_back(at);
      return;
    }
  };
  search(true), search(false);
  std::vector<int64_t> boundaries;
  for (const size_t at : bytes) boundaries.push_back(tokens_before(tokenizer, ids, at));
  boundaries.erase(std::unique(boundaries.begin(), boundaries.end()), boundaries.end());
  return boundaries;
}

}  // namespace

std::string read_text(const RequestFields& f, std::string_view key, std::initializer_list<std::string_view> types) {
  const json::value* content = f.find(key);
  if (!content) return {};
  if (!content->is_array()) return f.string(key, kMaxTextBytes).value_or("");
  std::string text;
  bool first = true;
  f.each_object(key, size_t(kMaxJsonValues), [&](const RequestFields& part) {
    const std::string type = part.string("type", 64).value_or("");
    if (std::ranges::find(types, type) == types.end())
      part.fail("type", type.empty() ? "is missing" : "is " + quote(type) + ", and this model reads text only");
    const char* part_key = type == "refusal" ? "refusal" : "text";
    if (!part.has(part_key)) part.fail(part_key, "is missing");
    text += (std::exchange(first, false) ? "" : "\n") + part.string(part_key, kMaxTextBytes).value_or("");
  });
  return text;
}

json::value read_arguments(const RequestFields& f) {
  const json::value* arguments = f.find("arguments");
  if (!arguments) return json::object();
  if (arguments->is_object()) return *arguments;
  const auto text = f.string("arguments", kMaxTextBytes);
  if (!text || trim(*text).empty()) return json::object();
  auto parsed = parse_json(*text, f.name("arguments"));
  if (!parsed.ok() || !parsed->is_object()) {
    f.fail("arguments", "is not a JSON object: " + quote(*text, 64));
    return nullptr;
  }
  return std::move(parsed).value();
}

void check_tool_type(const RequestFields& f) {
  const auto type = f.string("type", 64);
  if (f.ok() && !type) f.fail("type", "is missing");
  if (type && *type != "function") f.unsupported("type", "only functions are offered, not " + quote(*type));
}

void check_function(const RequestFields& f, std::string_view schema) {
  const auto name = f.string("name", kMaxNameBytes);
  if (f.ok() && (!name || name->empty())) return f.fail("name", "is missing");
  f.string("description", kMaxSchemaBytes);
  f.boolean("strict");
  const json::object* parameters = f.object(schema);
  if (parameters && json::serialize(*parameters).size() > kMaxSchemaBytes)
    f.fail(schema, "has more than " + std::to_string(kMaxSchemaBytes) + " bytes");
}

json::value choose_tools(const RequestFields& f, const ServedModel& served, json::array tools) {
  bool none = false;
  if (const json::value* choice = f.find("tool_choice")) {
    if (choice->is_object()) f.unsupported("tool_choice", kForcedCall);
    const auto c = f.choice("tool_choice", {"none", "auto", "required"});
    if (c == "required") f.unsupported("tool_choice", kForcedCall);
    none = c == "none";
  }
  if (none) return nullptr;
  return offer_tools(f, served, std::move(tools));
}

json::value offer_tools(const RequestFields& f, const ServedModel& served, json::array tools) {
  if (tools.empty()) return nullptr;
  if (served.tool_format() == ToolFormat::kNone) f.fail("tools", "the chat template of this model has no form for calls");
  return tools;
}

void read_variables(const RequestFields& f, json::object& out) {
  if (const json::object* given = f.object("chat_template_kwargs")) out = *given;
  if (const auto b = f.boolean("enable_thinking"); b && !out.contains("enable_thinking")) out["enable_thinking"] = *b;
  read_effort(f, "reasoning_effort", out);
  if (const json::array* documents = f.array("documents", kMaxMessages)) out["documents"] = *documents;
}

void read_effort(const RequestFields& f, std::string_view key, json::object& out) {
  const auto effort = f.choice(key, {"none", "minimal", "low", "medium", "high", "xhigh", "max"});
  if (!effort) return;
  if (!out.contains("reasoning_effort")) out["reasoning_effort"] = *effort;
  if (*effort == "none" && !out.contains("enable_thinking")) out["enable_thinking"] = false;
}

ChatInput read_chat_input(const RequestFields& f, const ServedModel& served) {
  ChatInput in;
  in.messages = read_messages(f);
  in.tools = read_tools(f, served);
  read_variables(f, in.variables);
  in.continue_final_message = f.boolean("continue_final_message").value_or(false);
  in.add_generation_prompt = f.boolean("add_generation_prompt").value_or(!in.continue_final_message);
  if (!in.continue_final_message || !f.ok()) return in;
  const json::object& last = in.messages.back().get_object();
  if (in.add_generation_prompt) f.fail("continue_final_message", "and add_generation_prompt exclude each other");
  else if (last.at("role") != "assistant") f.fail("continue_final_message", "is true, and the last message is not the assistant's");
  else if (trim(std::string_view(last.at("content").get_string())).empty())
    f.fail("continue_final_message", "is true, and the last message is empty");
  return in;
}

MaybeError render_chat(const ChatInput& in, const ServedModel& served, ChatPrompt& out) {
  if (!served.chat()) return not_supported(in.field, in.field + ": the model has no chat template; use /v1/completions");
  auto rendered = served.chat()->render(in.messages, in.tools, in.add_generation_prompt, in.variables);
  if (!rendered.ok()) return bad_field(in.field, rendered.status().message());
  if (in.continue_final_message) {
    // White space at its end stays if the template has left it there.
    const std::string_view content = in.messages.back().at("content").get_string();
    out.continued = content.substr(content.find(trim(content)));
    if (!cut_behind(*rendered, out.continued) && !cut_behind(*rendered, out.continued = trim(content)))
      return bad_field("continue_final_message", "the model's chat template changes the last message: it cannot be continued");
  }
  std::vector<Tokenizer::Span> spans;
  for (const auto& run : rendered->runs) spans.push_back({text_of(*rendered, run), run.trusted});
  out.ids = served.tokenizer().encode(spans);
  out.boundaries = find_boundaries(in, *rendered, served.tokenizer(), out.ids);
  out.reasoning = served.reasoning(rendered->text);
  return std::nullopt;
}

OutputFormat output_format(const ChatInput& in, const ChatPrompt& prompt, const ServedModel& served) {
  return {in.tools.is_null() ? ToolFormat::kNone : served.tool_format(), prompt.reasoning};
}

}  // namespace sluice
