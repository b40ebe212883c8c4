// Bytes to HTTP requests: 4 bytes for where they are cut, then what a connection carries, one request behind the other.
#include "server/message.h"
#include "server/read_buffer.h"
#include "server/request_parser.h"
#include "tests/fuzz/fuzz.h"

namespace sluice::fuzz {
namespace {

// Small, so that short inputs come to them.
HttpLimits limits() {
  HttpLimits l;
  l.max_header_bytes = 200, l.max_header_fields = 6, l.max_target_bytes = 60, l.max_body_bytes = 100;
  return l;
}

std::string shown(const HttpRequest& r) {
  std::string text = r.method + " " + r.path + " ?" + r.query + (r.http11 ? " 1.1\n" : " 1.0\n");
  for (const Header& h : r.headers) text += h.name + ": " + h.value + "\n";
  return text + "\n" + r.body + "\n";
}

// What is refused elsewhere may not come through here, or the next reader takes the bytes for other requests.
void check(const HttpRequest& r, const HttpLimits& l) {
  SLUICE_HOLDS(!r.method.empty() && !r.path.empty());
  SLUICE_HOLDS(r.path[0] == '/' || (r.path == "*" && r.method == "OPTIONS"), r.path);
  SLUICE_HOLDS(r.path.find_first_of("?\r\n ") == std::string::npos && r.query.find_first_of("\r\n ") == std::string::npos);
  SLUICE_HOLDS(int64_t(r.path.size() + r.query.size()) <= l.max_target_bytes && int64_t(r.body.size()) <= l.max_body_bytes);
  SLUICE_HOLDS(int64_t(r.headers.size()) <= l.max_header_fields);
  int hosts = 0, lengths = 0;
  for (const Header& h : r.headers) {
    SLUICE_HOLDS(!h.name.empty() && h.name.find_first_of(" \t\r\n:") == std::string::npos, h.name);
    SLUICE_HOLDS(h.value.find_first_of(std::string_view("\r\n\0", 3)) == std::string::npos, h.value);
    hosts += equal_ignoring_case(h.name, "Host");
    lengths += equal_ignoring_case(h.name, "Content-Length") || equal_ignoring_case(h.name, "Transfer-Encoding");
  }
  SLUICE_HOLDS(hosts <= 1 && lengths <= 1 && (hosts == 1 || !r.http11));
  if (const auto length = r.header("Content-Length"); !length.empty())
    SLUICE_HOLDS(std::to_string(r.body.size()) == length.substr(std::min(length.find_first_not_of('0'), length.size() - 1)));
  percent_decode(r.path), r.query_value("a");
}

// Reads as a connection does, of bytes that arrive in pieces, and tells all that came of it.
class Reader {
 public:
  void arrive(std::string_view piece) {
    if (piece.empty()) return;
    std::copy(piece.begin(), piece.end(), buffer_.prepare(piece.size()));
    buffer_.commit(piece.size());
    while (!ended_ && step()) {
    }
  }
  std::string text() const { return ended_ ? text_ : text_ + (parser_->state() == State::kBody ? "in a body" : "in a head"); }

 private:
  using State = RequestParser::State;

  bool step() {
    const size_t used = parser_->feed(buffer_.view());
    SLUICE_HOLDS(used <= buffer_.size());
    buffer_.consume(used);
    if (parser_->state() == State::kFailed) {
      SLUICE_HOLDS(parser_->error_status() >= 400 && parser_->error_status() < 600 && !parser_->error().empty());
      text_ += std::to_string(parser_->error_status()) + " " + parser_->error();
      ended_ = true;
    } else if (parser_->state() == State::kDone) {
      parser_->take_body();
      check(parser_->request(), limits_);
      text_ += shown(parser_->request()) + (parser_->keep_alive() ? "+" : "-") + (parser_->expects_continue() ? "c\n" : "\n");
      ended_ = !parser_->keep_alive();
      parser_ = std::make_unique<RequestParser>(limits_);
    }
    return used > 0;
  }

  const HttpLimits limits_ = limits();
  ReadBuffer buffer_;
  std::unique_ptr<RequestParser> parser_ = std::make_unique<RequestParser>(limits_);
  std::string text_;
  bool ended_ = false;
};

std::string read(std::string_view bytes, const std::vector<size_t>& cuts) {
  Reader reader;
  each_piece(bytes, cuts, [&](std::string_view piece) { reader.arrive(piece); });
  return reader.text();
}

}  // namespace

void fuzz_one(std::string_view bytes) {
  Input in(bytes);
  const uint64_t seed = in.number(4);
  const std::string whole = read(in.rest(), {});
  const std::string pieced = read(in.rest(), random_cuts(seed, in.rest().size()));
  SLUICE_HOLDS(pieced == whole, whole + "\n--- in pieces:\n" + pieced);
}

}  // namespace sluice::fuzz
