// The fields that all text routes have in common, to what is asked of the engine. Names are OpenAI's, then vLLM's.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/request.h"
#include "server/request_fields.h"
#include "server/served_model.h"

namespace sluice {

inline constexpr int kMaxChoices = 8, kMaxTopLogprobs = 20;
inline constexpr size_t kMaxStops = 16, kMaxStopBytes = 256, kMaxLogitBias = 1024, kMaxIdBytes = 256;

// Log-probabilities of prompts in one answer: about 100 MB of JSON.
inline constexpr int64_t kMaxPromptLogprobs = 2'000'000;

struct CommonFields {
  Request request;  // all but the prompt; the seed is that of the first choice
  int n = 1;
  bool stream = false, include_usage = false;
  bool return_token_ids = false, tokens_as_ids = false;
  bool parse_special = false;
  std::optional<int64_t> keep_prompt_tokens;  // truncate_prompt_tokens: so many from the end
  std::string request_id;                     // empty: none was given
};

// default_max_tokens: where the request has none, in fields of the names of `lengths`, of which the first counts. What is refused
// lies in fields.error().
CommonFields read_common_fields(const RequestFields& fields, const ServedModel& served, int64_t default_max_tokens,
                                std::initializer_list<std::string_view> lengths = {"max_completion_tokens", "max_tokens"});

// The model's name, which may be left out: 404 for one that is not served.
void check_model(const RequestFields& fields, const ServedModel& served);

// Fields of which a route has no more to say than their type: `user`, `store` and the like.
void check_ignored_fields(const RequestFields& fields);
// An object with a type, of which text is all that is offered.
void check_format(const RequestFields& fields, std::string_view key);
// response_format, structured_outputs and guided_*: text is all there is.
void check_text_format(const RequestFields& fields);

// So much of a context is for a prompt that may be cut; the rest is for the answer, a quarter of the context at most.
int64_t room_for_prompt(int64_t context, int64_t max_tokens);

// A prompt for the engine: cut as the request says, held against the context and kMaxPromptLogprobs.
MaybeError fit_prompt(const CommonFields& common, const ServedModel& served, const std::string& param, std::vector<int32_t>& ids);

// So many log-probabilities does one prompt ask for.
int64_t prompt_logprob_count(const CommonFields& common, const std::vector<int32_t>& ids);
MaybeError check_prompt_logprobs(int64_t count, const std::string& param);

// The engine's requests for one prompt: n of them, with seeds that follow each other. Log-probabilities of the prompt come with the
// first.
void add_choices(const CommonFields& common, const std::vector<int32_t>& prompt, const std::vector<int64_t>& boundaries,
                 std::vector<Request>& out);

}  // namespace sluice
