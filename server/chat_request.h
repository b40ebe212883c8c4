// A request of /v1/chat/completions to what is asked of the engine and how its answer is written.
#pragma once

#include <vector>

#include "server/chat_answer.h"
#include "server/request_fields.h"
#include "server/served_model.h"

namespace sluice {

struct ChatRequest {
  std::vector<Request> choices;
  ChatAnswerOptions answer;
};

MaybeError read_chat_request(const boost::json::object& body, const ServedModel& served, ChatRequest& out);

}  // namespace sluice
