// Server-sent events out of bytes that may be cut anywhere.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

namespace sluice::bench {

class SseReader {
 public:
  static constexpr size_t kMaxEvent = 16u << 20;  // bytes; a longer line is no event that a server of text sends

  // Calls take(data) for the data of each event that `bytes` completes. False: an event is over the limit.
  template <class Take>
  bool feed(std::string_view bytes, Take&& take) {
    for (const char c : bytes) {
      const bool after_cr = std::exchange(was_cr_, c == '\r');
      if (c == '\n' && after_cr) continue;  // the second half of \r\n
      if (c != '\n' && c != '\r') {
        line_ += c;
        if (line_.size() + data_.size() > kMaxEvent) return false;
        continue;
      }
      const bool first = std::exchange(at_start_, false);
      if (first && line_.starts_with(kByteOrderMark)) line_.erase(0, kByteOrderMark.size());
      if (!line_.empty()) {
        end_line();
      } else if (std::exchange(has_data_, false)) {
        const std::string data = std::exchange(data_, {});
        take(std::string_view(data));
      }
    }
    return true;
  }
  // Whether the stream may end here: everything that came was an event.
  bool between_events() const { return line_.empty() && !has_data_; }

 private:
  static constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";  // may stand where the stream begins

  void end_line() {
    std::string_view line = line_;
    if (line.starts_with("data") && (line.size() == 4 || line[4] == ':')) {
      line.remove_prefix(std::min<size_t>(line.size(), 5));
      if (line.starts_with(' ')) line.remove_prefix(1);
      if (has_data_) data_ += '\n';
      data_ += line;
      has_data_ = true;
    }  // comments and other fields carry nothing for us
    line_.clear();
  }

  std::string line_, data_;
  bool has_data_ = false, was_cr_ = false, at_start_ = true;
};

}  // namespace sluice::bench
