// What the text routes have in common: how a request comes in, and parts of OpenAI's answers.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <functional>
#include <string>

#include "engine/request.h"
#include "server/answer_head.h"
#include "server/message.h"
#include "server/request_fields.h"
#include "server/router.h"
#include "server/service.h"

namespace sluice {

// Reads a body on a worker thread and answers with what the function returns as an error, if anything.
using BodyHandler = std::function<MaybeError(const HttpRequest&, const boost::json::object&, const Responder&)>;
// What needs the engine is refused before its body is looked at when too many wait.
enum class Needs { kEngine, kTokenizer };
Handler json_route(Service& service, BodyHandler handler, ErrorWriter write_error = error_response, Needs needs = Needs::kEngine);

void respond_json(const Responder& responder, const boost::json::value& value);

// Sums over an answer's choices.
struct UsageSum {
  int64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0, reasoning_tokens = 0, drafted = 0, accepted = 0;
  // first: of the choices of one prompt, whose tokens count once.
  void add(const Usage& usage, bool first, int64_t reasoning_tokens = 0);
};
boost::json::object usage_object(const UsageSum& usage);

// Stop and length; a call is the caller's to know.
const char* openai_finish_reason(FinishReason reason);
// vLLM's stop_reason: the stop string or the token of stop_token_ids; null for the model's own end.
boost::json::value stop_reason(const Event& event, const Service& service);

// Whether the answer's last token is one that only ended it.
bool ends_with_stop_token(const Event& event);

std::string error_event(const ApiError& error);

// A token as OpenAI prints it: its text, or bytes:\xe2\x80 where it is only a part of a character, or token_id:7.
std::string shown_token(const Tokenizer& tokenizer, int32_t id, bool as_id);
// {token, logprob, bytes, top_logprobs}
boost::json::object logprob_object(const SampledToken& token, const Tokenizer& tokenizer, bool as_id);
// Not below what JSON and clients can take.
double finite_logprob(float logprob);

boost::json::array ids_array(const std::vector<int32_t>& ids);

// vLLM's prompt_logprobs: null for the first token, then an object by token id.
boost::json::array prompt_logprobs_array(const std::vector<SampledToken>& tokens, const Tokenizer& tokenizer);

}  // namespace sluice
