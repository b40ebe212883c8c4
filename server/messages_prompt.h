// A request of Anthropic's Messages API to what a chat template gets to see.
#pragma once

#include "server/chat_prompt.h"

namespace sluice {

struct MessagesInput {
  ChatInput chat;
  bool parallel_calls = true, show_thinking = true;
};

// Reads system, messages, tools, tool_choice, thinking and output_config. A last message of the assistant is one to be continued.
//
// - Text blocks of one message are joined by line ends, and so are messages of one role that follow each other.
// - A tool_result becomes a message of the role that templates have for it, where it stands; one with is_error begins with "Error:
// ".
// - thinking goes to the template as reasoning_content; redacted_thinking and cache_control change nothing.
MessagesInput read_messages_input(const RequestFields& fields, const ServedModel& served);

}  // namespace sluice
