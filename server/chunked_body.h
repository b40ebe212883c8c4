// A chunked body (RFC 9112, 7.1) to what it carries, byte by byte, so that it makes no difference where the bytes are cut. Strict,
// since servers that read chunks with leniency have taken parts of a body for requests: lines end with CR LF, sizes are hexadecimal
// digits and nothing else, what follows a size begins with ';' and closes its quotes on the same line, and fields of the trailer
// are fields.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice {

class ChunkedBody {
 public:
  enum class State { kReading, kDone, kMalformed, kTooLong };

  // max_framing: bytes of one chunk's header, and of the whole trailer.
  ChunkedBody(size_t max_body, size_t max_framing) : room_(max_body), max_framing_(max_framing) {}

  // Takes bytes up to the body's end, all of them while kReading, says how many, and appends what they carry.
  size_t feed(std::string_view bytes, std::string& body);
  State state() const { return state_; }
  const char* error() const { return error_; }  // when kMalformed: "a chunk ..."

 private:
  enum class Place {
    kSize,
    kExtension,
    kSizeEnd,
    kData,
    kDataReturn,
    kDataEnd,
    kTrailer,
    kFieldName,
    kFieldValue,
    kFieldEnd,
    kEnd
  };

  void take(char c);
  void take_size(char c);
  void take_extension(char c);
  void begin_data();
  void go(Place place, bool allowed, const char* error);
  void fail(const char* error);

  State state_ = State::kReading;
  Place place_ = Place::kSize;
  uint64_t room_;  // for the chunks to come
  const size_t max_framing_;
  size_t framing_ = 0;  // bytes since the last chunk's data
  uint64_t size_ = 0, left_ = 0;
  bool has_digits_ = false, quoted_ = false, escaped_ = false;
  const char* error_ = "";
};

}  // namespace sluice
