// The body of a chat request, behind a byte that says of which API, and for which chat template.
#include "server/chat_request.h"

#include "server/messages_request.h"
#include "server/response_request.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/requests.h"

namespace sluice::fuzz {
namespace {

template <class R>
MaybeError read(MaybeError (*reader)(const boost::json::object&, const ServedModel&, R&), const boost::json::object& body,
                const ServedModel& served) {
  R request;
  if (auto e = reader(body, served, request)) return e;
  check_choices(request.choices, served);
  return std::nullopt;
}

MaybeError count(MaybeError (*reader)(const boost::json::object&, const ServedModel&, ChatPrompt&), const boost::json::object& body,
                 const ServedModel& served) {
  ChatPrompt prompt;
  if (auto e = reader(body, served, prompt)) return e;
  check_prompt(prompt.ids, served);
  return std::nullopt;
}

MaybeError read_as(unsigned api, const boost::json::object& body, const ServedModel& served) {
  switch (api) {
    case 0:
      return read(read_chat_request, body, served);
    case 1:
      return read(read_messages_request, body, served);
    case 2:
      return read(read_response_request, body, served);
    case 3:
      return count(read_messages_prompt, body, served);
    default:
      return count(read_response_prompt, body, served);
  }
}

}  // namespace

void fuzz_one(std::string_view bytes) {
  Input in(bytes);
  const unsigned choice = in.below(10);
  boost::json::object body;
  MaybeError error = parse_body(in.rest(), body);
  if (!error) error = read_as(choice % 5, body, served_model(choice / 5 == 0));
  if (error) check_error(*error);
}

}  // namespace sluice::fuzz
