// A request of Anthropic's Messages API to what is asked of the engine and how its answer is written.
#pragma once

#include <vector>

#include "server/chat_prompt.h"
#include "server/messages_answer.h"
#include "server/request_fields.h"
#include "server/served_model.h"

namespace sluice {

struct MessagesRequest {
  std::vector<Request> choices;
  MessagesAnswerOptions answer;  // all but the request's id
};

MaybeError read_messages_request(const boost::json::object& body, const ServedModel& served, MessagesRequest& out);
// Only its prompt, for /v1/messages/count_tokens.
MaybeError read_messages_prompt(const boost::json::object& body, const ServedModel& served, ChatPrompt& out);

}  // namespace sluice
