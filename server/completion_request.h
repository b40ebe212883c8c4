// A request of /v1/completions to what is asked of the engine and how its answer is written.
#pragma once

#include <vector>

#include "server/completion_answer.h"
#include "server/request_fields.h"
#include "server/served_model.h"

namespace sluice {

struct CompletionRequest {
  std::vector<Request> choices;
  CompletionAnswerOptions answer;
};

MaybeError read_completion_request(const boost::json::object& body, const ServedModel& served, CompletionRequest& out);

}  // namespace sluice
