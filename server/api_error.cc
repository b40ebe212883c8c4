#include "server/api_error.h"

#include <boost/json/serialize.hpp>

#include "text/utf8.h"

namespace sluice {
namespace {

constexpr int64_t kRetryAfterSeconds = 1;

boost::json::value string_or_null(const std::string& s) { return s.empty() ? boost::json::value() : boost::json::value(s); }

// By status alone.
std::string type_of(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 429:
      return "rate_limit_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

std::string code_of(int status) {
  switch (status) {
    case 401:
      return "invalid_api_key";
    case 404:
      return "not_found";
    case 405:
      return "method_not_allowed";
    case 408:
      return "request_timeout";
    case 413:
      return "request_too_large";
    case 429:
      return "too_many_requests";
    case 501:
      return "not_supported";
    case 503:
      return "unavailable";
    default:
      return {};
  }
}

ApiError of_status(int status, std::string message) {
  const bool retry = status == 429 || status == 503;
  return {status, std::move(message), type_of(status), {}, code_of(status), retry ? kRetryAfterSeconds : 0};
}

}  // namespace

ApiError bad_field(std::string param, std::string message) {
  return {.status = 400, .message = std::move(message), .param = std::move(param)};
}

ApiError not_supported(std::string param, std::string message) {
  ApiError e = of_status(501, std::move(message));
  e.param = std::move(param);
  return e;
}

ApiError unavailable(std::string message) { return of_status(503, std::move(message)); }

ApiError api_error(const Status& status) {
  ApiError e;
  switch (status.code()) {
    case Code::kInvalidArgument:
      return bad_field({}, status.to_string());
    case Code::kNotFound:
      return of_status(404, status.to_string());
    case Code::kUnsupported:
      return of_status(501, status.to_string());
    case Code::kResourceExhausted:
      return of_status(429, status.to_string());
    case Code::kDevice:
      return of_status(503, status.to_string());
    case Code::kModelError:
      e = of_status(500, status.to_string());
      e.code = "model_error";
      return e;
    default:
      return of_status(500, status.to_string());
  }
}

ApiError api_error(const HttpError& error) {
  ApiError e = of_status(error.status, error.message);
  e.retry_after_s = 0;  // the server adds the header by its own limit
  return e;
}

boost::json::object error_object(const ApiError& e) {
  std::string message;
  append_lossy(message, e.message);  // it may quote half a character, or a path of any bytes
  return {
      {"error", {{"message", message}, {"type", e.type}, {"param", string_or_null(e.param)}, {"code", string_or_null(e.code)}}}};
}

HttpResponse error_response(const ApiError& e) {
  HttpResponse r{e.status, {{"Content-Type", "application/json"}}, boost::json::serialize(error_object(e))};
  // OpenAI's clients try anything from 500 on again unless they are told.
  if (e.status == 501) r.headers.push_back({"X-Should-Retry", "false"});
  if (e.retry_after_s > 0) r.headers.push_back({"Retry-After", std::to_string(e.retry_after_s)});
  return r;
}

}  // namespace sluice
