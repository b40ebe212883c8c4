// Bytes from a socket that were not used yet.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>

namespace sluice {

class ReadBuffer {
 public:
  std::string_view view() const { return {data_.get() + begin_, end_ - begin_}; }
  size_t size() const { return end_ - begin_; }
  bool empty() const { return begin_ == end_; }
  void consume(size_t n) { begin_ += n; }
  void clear() { begin_ = end_; }

  // Room for n bytes behind the others. Moves what is there, so no read may be under way. An empty buffer gives back what it has
  // too much: idle connections hold no more than they need to begin a request.
  char* prepare(size_t n) {
    const size_t used = size();
    if (capacity_ < used + n || (used == 0 && capacity_ > n)) {
      std::unique_ptr<char[]> data(new char[used + n]);
      if (used > 0) std::memcpy(data.get(), data_.get() + begin_, used);
      data_ = std::move(data);
      capacity_ = used + n;
    } else if (begin_ > 0 && used > 0) {
      std::memmove(data_.get(), data_.get() + begin_, used);
    }
    begin_ = 0;
    end_ = used;
    return data_.get() + end_;
  }
  void commit(size_t n) { end_ += n; }

 private:
  std::unique_ptr<char[]> data_;
  size_t capacity_ = 0, begin_ = 0, end_ = 0;
};

}  // namespace sluice
