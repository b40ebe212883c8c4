// The body of a request of /v1/completions.
#include "server/completion_request.h"

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/requests.h"

namespace sluice::fuzz {

void fuzz_one(std::string_view bytes) {
  const ServedModel& served = served_model(true);
  boost::json::object body;
  CompletionRequest request;
  MaybeError error = parse_body(bytes, body);
  if (!error) error = read_completion_request(body, served, request);
  if (error) return check_error(*error);
  check_choices(request.choices, served);
  SLUICE_HOLDS(request.choices.size() == request.answer.prompts.size() * size_t(request.answer.n));
}

}  // namespace sluice::fuzz
