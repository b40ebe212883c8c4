// Chat messages of a request: checked, and rendered to the prompt's tokens.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "server/request_fields.h"
#include "server/served_model.h"

namespace sluice {

inline constexpr size_t kMaxMessages = 2048, kMaxTools = 128, kMaxSchemaBytes = 64 << 10;
inline constexpr size_t kMaxTextBytes = size_t(1) << 30;  // the body's limit is the limit

// What a template gets to see.
struct ChatInput {
  boost::json::array messages;
  boost::json::value tools;       // null: none
  boost::json::object variables;  // chat_template_kwargs and the fields that mean the same
  bool add_generation_prompt = true, continue_final_message = false;
  std::string field = "messages";  // that messages come from: where the template is against them, it is named
};

struct ChatPrompt {
  std::vector<int32_t> ids;
  std::vector<int64_t> boundaries;  // where the first and the last user message begin, see Request::boundaries
  Reasoning reasoning = Reasoning::kOff;
  std::string continued;  // with continue_final_message: what the answer goes on from
};

// Reads messages, tools, chat_template_kwargs and the like, in OpenAI's shape.
ChatInput read_chat_input(const RequestFields& fields, const ServedModel& served);

// What the template says against the messages is the client's mistake: 400.
MaybeError render_chat(const ChatInput& input, const ServedModel& served, ChatPrompt& out);

// How the answer to it is to be read.
OutputFormat output_format(const ChatInput& input, const ChatPrompt& prompt, const ServedModel& served);

// Parts of a chat that other APIs have in the same shape.

// A string, or a list of text parts, which are joined by line ends as vLLM does for templates that take strings.
std::string read_text(const RequestFields& fields, std::string_view key,
                      std::initializer_list<std::string_view> types = {"text", "input_text", "output_text", "refusal"});
// `arguments` of a call. Templates walk through them: they get the object that the client has as a string.
boost::json::value read_arguments(const RequestFields& fields);
// `type` of a tool: functions are all there is.
void check_tool_type(const RequestFields& fields);
// name, description, strict and the schema of a tool.
void check_function(const RequestFields& fields, std::string_view schema = "parameters");
// The tools that the model gets to see, by tool_choice; null: none.
boost::json::value choose_tools(const RequestFields& fields, const ServedModel& served, boost::json::array tools);
// The same without tool_choice.
boost::json::value offer_tools(const RequestFields& fields, const ServedModel& served, boost::json::array tools);
inline constexpr const char* kForcedCall = "a call cannot be forced yet: it needs structured output; use 'auto'";
// chat_template_kwargs and the fields that mean the same.
void read_variables(const RequestFields& fields, boost::json::object& out);
void read_effort(const RequestFields& fields, std::string_view key, boost::json::object& out);

}  // namespace sluice
