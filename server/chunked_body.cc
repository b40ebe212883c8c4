#include "server/chunked_body.h"

#include <algorithm>

namespace sluice {
namespace {

constexpr const char* kBadSize = "a chunk's size is not a hexadecimal number";
constexpr const char* kBadExtension = "a chunk's extension is malformed";
constexpr const char* kBadEnd = "a chunk does not end with CR LF where its size says";
constexpr const char* kBadLine = "a line of a chunk's header or of the trailer does not end with CR LF";
constexpr const char* kBadTrailer = "a field of the trailer is malformed";

bool is_control(char c) { return (c >= 0 && c < ' ' && c != '\t') || c == 0x7f; }

bool is_token_character(char c) {
  const char lower = char(c | 0x20);
  return (c >= '0' && c <= '9') || (lower >= 'a' && lower <= 'z') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

int hex_digit(char c) {
  const char lower = char(c | 0x20);
  return c >= '0' && c <= '9' ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

}  // namespace

size_t ChunkedBody::feed(std::string_view bytes, std::string& body) {
  size_t used = 0;
  while (used < bytes.size() && state_ == State::kReading) {
    if (place_ != Place::kData) {
      take(bytes[used++]);
      continue;
    }
    const std::string_view data = bytes.substr(used, size_t(std::min<uint64_t>(left_, bytes.size() - used)));
    body += data;
    used += data.size();
    left_ -= data.size();
    if (left_ == 0) place_ = Place::kDataReturn, framing_ = 0;
  }
  return used;
}

void ChunkedBody::take(char c) {
  if (++framing_ > max_framing_) return fail("a chunk's header, or the trailer, is too long");
  switch (place_) {
    case Place::kSize:
      return take_size(c);
    case Place::kExtension:
      return take_extension(c);
    case Place::kSizeEnd:
      return c == '\n' ? begin_data() : fail(kBadLine);
    case Place::kData:
      return;
    case Place::kDataReturn:
      return go(Place::kDataEnd, c == '\r', kBadEnd);
    case Place::kDataEnd:
      size_ = 0, has_digits_ = false;
      return go(Place::kSize, c == '\n', kBadEnd);
    case Place::kTrailer:
      return c == '\r' ? go(Place::kEnd, true, "") : go(Place::kFieldName, is_token_character(c), kBadTrailer);
    case Place::kFieldName:
      return c == ':' ? go(Place::kFieldValue, true, "") : go(Place::kFieldName, is_token_character(c), kBadTrailer);
    case Place::kFieldValue:
      return c == '\r' ? go(Place::kFieldEnd, true, "") : go(Place::kFieldValue, !is_control(c), kBadTrailer);
    case Place::kFieldEnd:
      return go(Place::kTrailer, c == '\n', kBadLine);
    case Place::kEnd:
      if (c != '\n') return fail(kBadLine);
      state_ = State::kDone;
  }
}

void ChunkedBody::take_size(char c) {
  const int digit = hex_digit(c);
  if (digit >= 0) {
    if (size_ >> 60 != 0) return fail("a chunk's size does not fit in 64 bits");
    has_digits_ = true;
    size_ = size_ << 4 | uint64_t(digit);
    return;
  }
  if (!has_digits_ || (c != '\r' && c != ';')) return fail(kBadSize);
  if (size_ > room_) state_ = State::kTooLong;
  place_ = c == ';' ? Place::kExtension : Place::kSizeEnd;
}

void ChunkedBody::take_extension(char c) {
  if (c == '\r') return go(Place::kSizeEnd, !quoted_, kBadExtension);
  if (is_control(c)) return fail(kBadExtension);
  if (escaped_) escaped_ = false;
  else if (c == '"') quoted_ = !quoted_;
  else if (c == '\\') escaped_ = quoted_;
}

void ChunkedBody::begin_data() {
  place_ = size_ == 0 ? Place::kTrailer : Place::kData;
  left_ = size_;
  room_ -= size_;
}

void ChunkedBody::go(Place place, bool allowed, const char* error) {
  if (!allowed) return fail(error);
  place_ = place;
}

void ChunkedBody::fail(const char* error) {
  state_ = State::kMalformed;
  error_ = error;
}

}  // namespace sluice
