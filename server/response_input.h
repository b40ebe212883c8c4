// The input of /v1/responses to what a chat template gets to see.
#pragma once

#include "server/chat_prompt.h"

namespace sluice {

// Reads input, instructions, tools, tool_choice and reasoning.
ChatInput read_response_input(const RequestFields& fields, const ServedModel& served);

// render_chat(), but an input that the context does not hold loses its oldest turns, as few as leave room for `answer` tokens or a
// quarter of the context, so that the next turns fit as well. System messages, the last user message and what the assistant did
// last stay: if they alone are too long, they are what is rendered.
MaybeError render_newest(ChatInput& input, const ServedModel& served, int64_t answer, ChatPrompt& out);

}  // namespace sluice
