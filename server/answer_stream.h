// Follows the engine's answers to one API request: several choices, cancelled together when the client goes or one fails.
#pragma once

#include <memory>
#include <vector>

#include "engine/request.h"
#include "server/api_error.h"
#include "server/message.h"
#include "server/service.h"

namespace sluice {

// Turns events into an API's answer. Calls come one at a time, on the engine's thread or the one that started; they must not block.
class AnswerSink {
 public:
  virtual ~AnswerSink() = default;
  // All choices are accepted: a stream may begin.
  virtual void begin() {}
  // Never of an error or a cancellation.
  virtual void event(size_t choice, const Event& event) = 0;
  // All choices have finished.
  virtual void end() = 0;
  // Instead of end(); with begun = false before begin(). What the choices have said so far is all.
  virtual void fail(const ApiError& error, bool begun) = 0;
};

// Submits a request for each choice; all or none. The service must outlive the answers; its metrics are told of them.
void follow_answers(Service& service, std::vector<Request> choices, const Responder& responder, std::unique_ptr<AnswerSink> sink);

}  // namespace sluice
