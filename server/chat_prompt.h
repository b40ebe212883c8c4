// Chat messages of a request: checked, and rendered to the prompt's tokens.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "server/request_fields.h"
#include "server/service.h"

namespace sluice {

inline constexpr size_t kMaxMessages = 2048, kMaxTools = 128, kMaxSchemaBytes = 64 << 10;

// What a template gets to see.
struct ChatInput {
  boost::json::array messages;
  boost::json::value tools;       // null: none
  boost::json::object variables;  // chat_template_kwargs and the fields that mean the same
  bool add_generation_prompt = true, continue_final_message = false;
};

struct ChatPrompt {
  std::vector<int32_t> ids;
  std::vector<int64_t> boundaries;  // where the first and the last user message begin, see Request::boundaries
  Reasoning reasoning = Reasoning::kOff;
  std::string continued;  // with continue_final_message: what the answer goes on from
};

// Reads messages, tools, chat_template_kwargs and the like, in OpenAI's shape.
ChatInput read_chat_input(const RequestFields& fields, const Service& service);

// What the template says against the messages is the client's mistake: 400.
MaybeError render_chat(const ChatInput& input, const Service& service, ChatPrompt& out);

}  // namespace sluice
