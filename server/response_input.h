// The input of /v1/responses to what a chat template gets to see.
#pragma once

#include "server/chat_prompt.h"

namespace sluice {

// Reads input, instructions, tools, tool_choice and reasoning.
ChatInput read_response_input(const RequestFields& fields, const Service& service);

}  // namespace sluice
