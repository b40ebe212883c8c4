#include "server/response_input.h"

#include <algorithm>

#include "io/quote.h"
#include "server/sampling_fields.h"
#include "text/markup.h"

namespace sluice {
namespace {

namespace json = boost::json;

constexpr size_t kMaxCallId = 1024;

// Items to messages: what an assistant thought, said and called in one turn is one message.
class MessageList {
 public:
  // System messages that follow each other are one: templates take no more, and instructions come before those of the input.
  void add_message(const std::string& role, const std::string& text) {
    if (role == "assistant") {
      begin_assistant()["content"] = text;
    } else if (role == "system" && !messages_.empty() && last().at("role") == "system") {
      last()["content"].get_string() += "\n\n" + text;
    } else {
      begin(role)["content"] = text;
    }
  }
  void add_reasoning(const std::string& text) { reasoning_ = text; }
  void add_call(json::object call) {
    const bool goes_on = !messages_.empty() && last().at("role") == "assistant" && reasoning_.empty();
    json::object& m = goes_on ? last() : begin_assistant();
    if (!m.contains("tool_calls")) m["tool_calls"] = json::array();
    m["tool_calls"].get_array().push_back(std::move(call));
  }
  void add_output(const std::string& call_id, const std::string& text) {
    json::object& m = begin("tool");
    m["content"] = text, m["tool_call_id"] = call_id;
  }
  json::array take() { return std::move(messages_); }

 private:
  json::object& last() { return messages_.back().get_object(); }
  json::object& begin(const std::string& role) {
    messages_.push_back(json::object{{"role", role}, {"content", ""}});
    reasoning_.clear();  // it belonged to no answer
    return last();
  }
  json::object& begin_assistant() {
    const std::string reasoning = std::exchange(reasoning_, {});
    json::object& m = begin("assistant");
    if (!reasoning.empty()) m["reasoning_content"] = reasoning;
    return m;
  }

  json::array messages_;
  std::string reasoning_;  // of the assistant's message that follows
};

void read_message(const RequestFields& f, MessageList& out) {
  const auto role = f.choice("role", {"user", "assistant", "system", "developer"});
  if (!role) return f.fail("role", "is missing");
  if (!f.has("content")) return f.fail("content", "is missing");
  out.add_message(*role == "developer" ? "system" : *role, read_text(f, "content"));
}

// Its text; the summary where there is no text.
void read_reasoning(const RequestFields& f, MessageList& out) {
  f.string("encrypted_content", kMaxTextBytes);
  for (const char* key : {"content", "summary"})
    if (f.find(key) && !f.array(key, kMaxMessages)) return;
  const std::string text = read_text(f, "content", {"reasoning_text", "text"});
  const std::string summary = read_text(f, "summary", {"summary_text"});
  out.add_reasoning(text.empty() ? summary : text);
}

std::string read_call_id(const RequestFields& f) {
  const auto id = f.string("call_id", kMaxCallId);
  if (!id) f.fail("call_id", "is missing");
  return id.value_or("");
}

void read_call(const RequestFields& f, MessageList& out) {
  const std::string id = read_call_id(f);
  const auto name = f.string("name", kMaxNameBytes);
  if (!name) f.fail("name", "is missing");
  if (!f.has("arguments")) f.fail("arguments", "is missing");
  json::value arguments = read_arguments(f);
  if (!f.ok()) return;
  out.add_call({{"id", id}, {"type", "function"}, {"function", {{"name", *name}, {"arguments", std::move(arguments)}}}});
}

void read_output(const RequestFields& f, MessageList& out) {
  const std::string id = read_call_id(f);
  if (!f.has("output")) f.fail("output", "is missing");
  out.add_output(id, read_text(f, "output"));
}

void read_item(const RequestFields& f, MessageList& out) {
  const std::string type = f.string("type", 64).value_or(f.has("role") ? "message" : "");
  if (type == "message") return read_message(f, out);
  if (type == "reasoning") return read_reasoning(f, out);
  if (type == "function_call") return read_call(f, out);
  if (type == "function_call_output") return read_output(f, out);
  if (type.empty()) return f.fail("type", "is missing");
  if (type == "item_reference") return f.fail("type", "refers to an item, and this server keeps none: send the item itself");
  f.unsupported("type", "messages, reasoning, function calls and their outputs are read, not " + quote(type));
}

json::array read_messages(const RequestFields& f) {
  MessageList out;
  if (const auto instructions = f.string("instructions", kMaxTextBytes); instructions && !instructions->empty())
    out.add_message("system", *instructions);
  const json::value* input = f.find("input");
  if (!input) f.fail("input", "is missing");
  else if (input->is_string()) out.add_message("user", read_text(f, "input"));
  else if (!input->is_array()) f.fail("input", "is " + kind_of(*input) + ", wanted a string or a list of items");
  else if (input->get_array().empty()) f.fail("input", "is empty");
  else f.each_object("input", kMaxMessages, [&](const RequestFields& item) { read_item(item, out); });
  return out.take();
}

// The shape of Responses is flat; templates know that of chat.
json::array read_functions(const RequestFields& f) {
  json::array out;
  f.each_object("tools", kMaxTools, [&](const RequestFields& tool) {
    check_tool_type(tool);
    check_function(tool);
    json::object function;
    for (const char* key : {"name", "description", "parameters"})
      if (const json::value* v = tool.find(key)) function[key] = *v;
    out.push_back({{"type", "function"}, {"function", std::move(function)}});
  });
  return out;
}

// Which messages may go together, oldest first: a user's and all up to the next one's; behind the last one's, which stays, an
// assistant's and the results of its calls, but for the last of these.
class Turns {
 public:
  explicit Turns(const json::array& messages) : all_(messages), turn_(messages.size(), kStays) {
    size_t asked = all_.size(), answered = all_.size();  // the last user's and, behind it, the last assistant's
    while (asked > 0 && role(asked - 1) != "user") --asked;
    while (answered > asked && role(answered - 1) != "assistant") --answered;
    for (size_t i = 0; i + 1 < answered; ++i) {
      if (role(i) == "system" || i + 1 == asked) continue;
      if (count_ == 0 || role(i) == "user" || (i >= asked && role(i) == "assistant")) ++count_;
      turn_[i] = count_ - 1;
    }
  }
  size_t count() const { return count_; }
  json::array without_oldest(size_t turns) const {
    json::array out;
    for (size_t i = 0; i < all_.size(); ++i)
      if (turn_[i] >= turns) out.push_back(all_[i]);
    return out;
  }

 private:
  static constexpr size_t kStays = size_t(-1);
  const json::string& role(size_t i) const { return all_[i].at("role").get_string(); }

  const json::array& all_;
  std::vector<size_t> turn_;  // each message's
  size_t count_ = 0;
};

}  // namespace

ChatInput read_response_input(const RequestFields& f, const ServedModel& served) {
  ChatInput in;
  in.field = "input";
  in.messages = read_messages(f);
  in.tools = choose_tools(f, served, read_functions(f));
  read_variables(f, in.variables);
  if (const json::object* reasoning = f.object("reasoning")) {
    const RequestFields r(*reasoning, f.error(), f.name("reasoning."));
    read_effort(r, "effort", in.variables);
    for (const char* key : {"summary", "generate_summary"}) r.choice(key, {"auto", "concise", "detailed"});
  }
  return in;
}

MaybeError render_newest(ChatInput& input, const ServedModel& served, int64_t answer, ChatPrompt& out) {
  const int64_t context = served.max_context();
  if (auto e = render_chat(input, served, out); e || int64_t(out.ids.size()) < context) return e;
  const int64_t room = room_for_prompt(context, answer);
  const json::array all = std::exchange(input.messages, {});
  const Turns turns(all);
  const auto render = [&](size_t left_out) {
    input.messages = turns.without_oldest(left_out);
    return render_chat(input, served, out);
  };
  size_t too_few = 0, enough = turns.count();
  while (too_few + 1 < enough) {
    const size_t middle = (too_few + enough) / 2;
    if (auto e = render(middle)) return e;
    (int64_t(out.ids.size()) <= room ? enough : too_few) = middle;
  }
  return render(enough);
}

}  // namespace sluice
