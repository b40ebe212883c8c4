// Errors as a client sees them, in the shape of the API that it speaks.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <string>

#include "base/status.h"
#include "server/message.h"

namespace sluice {

struct ApiError {
  int status = 400;
  std::string message;
  std::string type = "invalid_request_error";
  std::string param;          // the field at fault; empty: null
  std::string code;           // for programs; empty: null
  int64_t retry_after_s = 0;  // 0: none
};

// The field is there and cannot be taken as it is: 400.
ApiError bad_field(std::string param, std::string message);
// Well-formed, and this server has not learned it: 501.
ApiError not_supported(std::string param, std::string message);

// Not now: 503.
ApiError unavailable(std::string message);

// From the engine: what a request asks for is 400, a full queue 429, the model's and the machine's faults 500 and 503.
ApiError api_error(const Status& status);
// From the HTTP server: 401, 404, 405, 413, 503 and the rest.
ApiError api_error(const HttpError& error);

// How an API writes an error as the answer to a request.
using ErrorWriter = HttpResponse (*)(const ApiError& error, const std::string& request_id);

// OpenAI: {"error": {"message", "type", "param", "code"}}. The request's id is in a header of the server's.
boost::json::object error_object(const ApiError& error);
HttpResponse error_response(const ApiError& error, const std::string& request_id = {});

// Anthropic: {"type": "error", "error": {"type", "message"}, "request_id"}.
boost::json::object anthropic_error_object(const ApiError& error, const std::string& request_id);
HttpResponse anthropic_error_response(const ApiError& error, const std::string& request_id);
// The header by which Anthropic's clients know a request.
Header anthropic_request_id(const std::string& request_id);

}  // namespace sluice
