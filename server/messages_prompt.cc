#include "server/messages_prompt.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "server/sampling_fields.h"
#include "text/markup.h"

namespace sluice {
namespace {

namespace json = boost::json;

constexpr size_t kMaxTypeBytes = 256, kMaxCallIdBytes = 1024;

std::string required_string(const RequestFields& f, std::string_view key, size_t max_bytes) {
  const auto s = f.string(key, max_bytes);
  if (f.ok() && !s) f.fail(key, "is missing");
  return s.value_or("");
}

// f(block, type) for each block. A string is short for one block of text.
template <class F>
void each_block(const RequestFields& f, std::string_view key, F each) {
  const json::value* content = f.find(key);
  if (!content) return;
  if (content->is_string()) {
    const json::object block = {{"type", "text"}, {"text", *content}};
    return each(RequestFields(block, f.error(), f.name(key) + "."), "text");
  }
  if (!content->is_array()) return f.fail(key, "is " + kind_of(*content) + ", wanted a string or a list of blocks");
  f.each_object(key, size_t(kMaxJsonValues), [&](const RequestFields& block) {
    const std::string type = required_string(block, "type", kMaxTypeBytes);
    if (block.ok()) each(block, type);
  });
}

void refuse_block(const RequestFields& block, const std::string& type, std::string_view place) {
  constexpr std::string_view kKnown[] = {"text", "thinking", "redacted_thinking", "tool_use", "tool_result"};
  if (std::ranges::count(kKnown, type)) block.fail("type", "'" + type + "' has no place in " + std::string(place));
  else block.unsupported("type", "'" + type + "' is not offered: this model reads text only");
}

std::string text_of(const RequestFields& block, const std::string& type, std::string_view place) {
  if (type == "text") return required_string(block, "text", kMaxTextBytes);
  refuse_block(block, type, place);
  return {};
}

// Chat messages as they come together.
class Conversation {
 public:
  // The message that goes on in this role: the last one, or a new one.
  json::object& in(std::string_view role) {
    const bool goes_on = !messages_.empty() && std::string_view(messages_.back().at("role").get_string()) == role;
    if (!goes_on) messages_.push_back({{"role", role}, {"content", ""}});
    return messages_.back().get_object();
  }
  void add_text(std::string_view role, const std::string& text) { join(in(role), "content", text); }
  void add_thinking(const std::string& text) { join(in("assistant"), "reasoning_content", text); }
  void add_call(json::object call) {
    json::value& calls = in("assistant")["tool_calls"];
    if (calls.is_null()) calls = json::array();
    calls.get_array().push_back(std::move(call));
  }
  void add_result(const std::string& id, const std::string& text) {
    messages_.push_back({{"role", "tool"}, {"tool_call_id", id}, {"content", text}});
  }
  json::array take() { return std::move(messages_); }

 private:
  static void join(json::object& message, std::string_view key, const std::string& text) {
    json::value& all = message[key];
    if (all.is_null() || all.get_string().empty()) all = json::value(text);
    else all.get_string() += "\n" + text;
  }
  json::array messages_;
};

void read_result(const RequestFields& block, Conversation& out) {
  const std::string id = required_string(block, "tool_use_id", kMaxCallIdBytes);
  std::string text;
  bool first = true;
  each_block(block, "content", [&](const RequestFields& part, const std::string& type) {
    text += (std::exchange(first, false) ? "" : "\n") + text_of(part, type, "a tool_result");
  });
  const bool failed = block.boolean("is_error").value_or(false);
  out.add_result(id, (failed ? "Error: " : "") + text);
}

void read_assistant_block(const RequestFields& block, const std::string& type, Conversation& out) {
  if (type == "thinking") return out.add_thinking(required_string(block, "thinking", kMaxTextBytes));
  if (type == "redacted_thinking") return;
  if (type != "tool_use") return out.add_text("assistant", text_of(block, type, "a message of the assistant"));
  const std::string id = required_string(block, "id", kMaxCallIdBytes), name = required_string(block, "name", kMaxNameBytes);
  const json::object* input = block.object("input");
  if (!input) return block.fail("input", "is missing");
  out.add_call({{"id", id}, {"type", "function"}, {"function", {{"name", name}, {"arguments", *input}}}});
}

void read_message(const RequestFields& f, Conversation& out) {
  const auto role = f.choice("role", {"user", "assistant", "system"});
  if (!role) return f.fail("role", "is missing");
  const json::value* content = f.find("content");
  if (!content) return f.fail("content", "is missing");
  const bool empty = content->is_array() && content->get_array().empty();
  if (role != "user" || empty) out.in(*role);  // a message of the user may be one of results alone
  each_block(f, "content", [&](const RequestFields& block, const std::string& type) {
    if (role == "assistant") read_assistant_block(block, type, out);
    else if (role == "user" && type == "tool_result") read_result(block, out);
    else out.add_text(*role, text_of(block, type, "a message of the " + *role));
  });
}

// A line that one client puts before its instructions, for its maker's accounting. It is no text for a model, and different each
// time, so that with it no prompt would be found in the prefix cache.
bool is_accounting(const std::string& text) { return text.starts_with("x-anthropic-billing-header:"); }

json::array read_conversation(const RequestFields& f) {
  Conversation out;
  each_block(f, "system", [&](const RequestFields& block, const std::string& type) {
    const std::string text = text_of(block, type, "system");
    if (!text.empty() && !is_accounting(text)) out.add_text("system", text);
  });
  const json::array* messages = f.array("messages", kMaxMessages);
  if (!messages || messages->empty()) f.fail("messages", messages ? "is empty" : "is missing");
  f.each_object("messages", kMaxMessages, [&](const RequestFields& message) { read_message(message, out); });
  return out.take();
}

void continue_last_message(const RequestFields& f, ChatInput& in) {
  const json::object& last = in.messages.back().get_object();
  if (last.at("role") != "assistant") return;
  const bool no_text = trim(std::string_view(last.at("content").get_string())).empty();
  if (last.contains("tool_calls")) f.fail("messages", "end with a tool_use, wanted its tool_result behind it");
  else if (no_text && last.contains("reasoning_content")) f.fail("messages", "end with thinking, and only text can be continued");
  else if (no_text) in.messages.pop_back();  // nothing to go on from
  else in.continue_final_message = true, in.add_generation_prompt = false;
}

json::array read_tools(const RequestFields& f) {
  json::array out;
  f.each_object("tools", kMaxTools, [&](const RequestFields& tool) {
    const auto type = tool.string("type", kMaxTypeBytes);
    if (type && *type != "custom") tool.unsupported("type", "only tools of the client are offered, not '" + *type + "'");
    check_function(tool, "input_schema");
    const json::object* schema = tool.object("input_schema");
    if (!schema) return tool.fail("input_schema", "is missing");
    json::object function = {{"name", *tool.find("name")}};
    if (const json::value* description = tool.find("description")) function["description"] = *description;
    function["parameters"] = *schema;
    out.push_back({{"type", "function"}, {"function", std::move(function)}});
  });
  return out;
}

void read_tool_choice(const RequestFields& f, const ServedModel& served, MessagesInput& in) {
  json::array tools = read_tools(f);
  if (const json::object* choice = f.object("tool_choice")) {
    const RequestFields c(*choice, f.error(), "tool_choice.");
    const auto type = c.choice("type", {"auto", "any", "tool", "none"});
    if (!type) c.fail("type", "is missing");
    if (type == "any" || type == "tool") c.unsupported("type", kForcedCall);
    in.parallel_calls = !c.boolean("disable_parallel_tool_use").value_or(false);
    if (type == "none") tools.clear();
  }
  in.chat.tools = offer_tools(f, served, std::move(tools));
}

void read_thinking(const RequestFields& f, MessagesInput& in) {
  const json::object* thinking = f.object("thinking");
  if (!thinking) return;
  const RequestFields t(*thinking, f.error(), "thinking.");
  const auto type = t.choice("type", {"enabled", "disabled", "adaptive"});
  if (!type) t.fail("type", "is missing");
  t.integer("budget_tokens", 1, std::numeric_limits<int32_t>::max());  // nothing holds the model to it
  in.show_thinking = t.choice("display", {"summarized", "omitted"}) != "omitted";
  if (!in.chat.variables.contains("enable_thinking")) in.chat.variables["enable_thinking"] = type != "disabled";
}

void read_output_config(const RequestFields& f, MessagesInput& in) {
  check_format(f, "output_format");
  const json::object* config = f.object("output_config");
  if (!config) return;
  const RequestFields c(*config, f.error(), "output_config.");
  check_format(c, "format");
  read_effort(c, "effort", in.chat.variables);
}

}  // namespace

MessagesInput read_messages_input(const RequestFields& f, const ServedModel& served) {
  MessagesInput in;
  in.chat.messages = read_conversation(f);
  if (f.ok()) continue_last_message(f, in.chat);
  read_tool_choice(f, served, in);
  read_variables(f, in.chat.variables);
  read_thinking(f, in);
  read_output_config(f, in);
  return in;
}

}  // namespace sluice
