// The bodies of requests for text: the model that they are read against, and what holds for what came of them.
#pragma once

#include <string_view>
#include <vector>

#include "engine/request.h"
#include "server/request_fields.h"
#include "server/served_model.h"

namespace sluice::fuzz {

// A small context; `xml`: the chat template teaches calls in XML, else in JSON.
const ServedModel& served_model(bool xml);

// What can be said to a client as it is.
void check_error(const ApiError& error);
// What the engine takes without another look: tokens of the vocabulary, in the context, and sampling within its bounds.
void check_choices(const std::vector<Request>& choices, const ServedModel& served);
void check_prompt(const std::vector<int32_t>& ids, const ServedModel& served);

}  // namespace sluice::fuzz
