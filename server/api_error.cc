#include "server/api_error.h"

#include <boost/json/serialize.hpp>

#include "text/utf8.h"

namespace sluice {
namespace {

constexpr int64_t kRetryAfterSeconds = 1;

boost::json::value string_or_null(const std::string& s) { return s.empty() ? boost::json::value() : boost::json::value(s); }

// It may quote half a character, or a path of any bytes.
std::string message_of(const ApiError& e) {
  std::string out;
  append_lossy(out, e.message);
  return out;
}

// By status alone.
std::string type_of(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
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
    case 403:
      return "host_not_allowed";
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

const char* anthropic_type_of(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 500:
      return "api_error";
    case 503:
      return "overloaded_error";
    default:
      return "invalid_request_error";  // 501 as well: it is the request that has to change
  }
}

HttpResponse response_of(const ApiError& e, const boost::json::object& body) {
  HttpResponse r{e.status, {{"Content-Type", "application/json"}}, boost::json::serialize(body)};
  // Clients try anything from 500 on again unless they are told.
  if (e.status == 501) r.headers.push_back({"X-Should-Retry", "false"});
  if (e.retry_after_s > 0) r.headers.push_back({"Retry-After", std::to_string(e.retry_after_s)});
  return r;
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
  return {{"error",
           {{"message", message_of(e)}, {"type", e.type}, {"param", string_or_null(e.param)}, {"code", string_or_null(e.code)}}}};
}

HttpResponse error_response(const ApiError& e, const std::string&) { return response_of(e, error_object(e)); }

boost::json::object anthropic_error_object(const ApiError& e, const std::string& request_id) {
  return {{"type", "error"},
          {"error", {{"type", anthropic_type_of(e.status)}, {"message", message_of(e)}}},
          {"request_id", request_id}};
}

HttpResponse anthropic_error_response(const ApiError& e, const std::string& request_id) {
  HttpResponse r = response_of(e, anthropic_error_object(e, request_id));
  r.headers.push_back(anthropic_request_id(request_id));
  return r;
}

Header anthropic_request_id(const std::string& request_id) { return {"Request-Id", request_id}; }

}  // namespace sluice
