#include "server/sse.h"

#include <algorithm>

namespace sluice {
namespace {

// Lines end with \n, \r or \r\n, all of which an event stream reads as an end of line.
void append_lines(std::string& out, std::string_view prefix, std::string_view text) {
  for (;;) {
    const size_t end = std::min(text.find_first_of("\r\n"), text.size());
    out += prefix;
    out += text.substr(0, end);
    out += '\n';
    if (end == text.size()) return;
    text.remove_prefix(text.substr(end, 2) == "\r\n" ? end + 2 : end + 1);
  }
}

}  // namespace

std::string sse_event(std::string_view data, std::string_view name) {
  std::string out;
  out.reserve(data.size() + name.size() + 24);
  if (!name.empty()) {
    out += "event: ";
    std::copy_if(name.begin(), name.end(), std::back_inserter(out), [](char c) { return c != '\r' && c != '\n'; });
    out += '\n';
  }
  append_lines(out, "data: ", data);
  out += '\n';
  return out;
}

std::string sse_comment(std::string_view text) {
  std::string out;
  append_lines(out, ": ", text);
  out += '\n';
  return out;
}

Headers sse_headers() {
  return {{"Content-Type", "text/event-stream"}, {"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
}

}  // namespace sluice
