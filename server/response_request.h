// A request of /v1/responses to what is asked of the engine and how its answer is written.
#pragma once

#include <vector>

#include "server/chat_prompt.h"
#include "server/request_fields.h"
#include "server/response_answer.h"
#include "server/served_model.h"

namespace sluice {

struct ResponseRequest {
  std::vector<Request> choices;
  ResponseAnswerOptions answer;
};

MaybeError read_response_request(const boost::json::object& body, const ServedModel& served, ResponseRequest& out);
// Only its prompt, for /v1/responses/input_tokens.
MaybeError read_response_prompt(const boost::json::object& body, const ServedModel& served, ChatPrompt& out);

}  // namespace sluice
