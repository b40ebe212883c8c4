#include "server/response_head.h"

#include <algorithm>
#include <cstdio>

namespace sluice {
namespace {

const char* reason_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 304:
      return "Not Modified";
    case 307:
      return "Temporary Redirect";
    case 308:
      return "Permanent Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Status";
  }
}

// A handler's text cannot begin a header of its own.
void append_safely(std::string& out, std::string_view text) {
  for (const char c : text) out += c == '\r' || c == '\n' || c == '\0' ? ' ' : c;
}

bool is_ours(std::string_view name) {
  for (const char* ours : {"Content-Length", "Transfer-Encoding", "Connection", "Date", "X-Request-Id"}) {
    if (equal_ignoring_case(name, ours)) return true;
  }
  return false;
}

}  // namespace

bool has_no_body(int status) { return status / 100 == 1 || status == 204 || status == 304; }

std::string write_head(const ResponseHead& head) {
  std::string out;
  out.reserve(256);
  out += head.http11 ? "HTTP/1.1 " : "HTTP/1.0 ";
  out += std::to_string(head.status);
  out += ' ';
  out += reason_of(head.status);
  out += "\r\nDate: ";
  out += head.date;
  for (const Header& h : head.headers) {
    if (is_ours(h.name) || h.name.empty()) continue;
    out += "\r\n";
    append_safely(out, h.name);
    out += ": ";
    append_safely(out, h.value);
  }
  if (!head.request_id.empty()) {
    out += "\r\nX-Request-Id: ";
    out += head.request_id;
  }
  if (!has_no_body(head.status)) {
    if (head.content_length) {
      out += "\r\nContent-Length: " + std::to_string(*head.content_length);
    } else if (head.http11) {
      out += "\r\nTransfer-Encoding: chunked";
    }
  }
  if (!head.keep_alive) {
    out += "\r\nConnection: close";
  } else if (!head.http11) {
    out += "\r\nConnection: keep-alive";
  }
  out += "\r\n\r\n";
  return out;
}

bool is_good_request_id(std::string_view id) {
  return !id.empty() && id.size() <= 128 && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '.' ||
           c == ':';
  });
}

// By hand: strftime writes the names of the locale's language.
std::string http_date(std::time_t t) {
  static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::tm tm{};
  gmtime_r(&t, &tm);
  char text[64];
  std::snprintf(text, sizeof text, "%s, %02d %s %04d %02d:%02d:%02d GMT", kDays[tm.tm_wday], tm.tm_mday, kMonths[tm.tm_mon],
                tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
  return text;
}

}  // namespace sluice
