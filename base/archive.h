// Plain data as bytes and back, for messages between processes of one program on one machine.
#pragma once

#include <cstring>
#include <map>
#include <set>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/status.h"

namespace sluice {

// A struct of such data has a function each_field(value, f) in its namespace, which calls f for each of its fields.
class Packer {
 public:
  template <class T>
  void operator()(const T& value) {
    if constexpr (std::is_trivially_copyable_v<T>) raw(&value, sizeof value);
    else each_field(const_cast<T&>(value), *this);
  }
  void operator()(const std::string& s) { (*this)(s.size()), raw(s.data(), s.size()); }
  template <class T>
  void operator()(const std::vector<T>& v) {
    static_assert(std::is_trivially_copyable_v<T>);
    (*this)(v.size()), raw(v.data(), v.size() * sizeof(T));
  }
  template <class T, class Order>
  void operator()(const std::map<std::string, T, Order>& m) {
    (*this)(m.size());
    for (const auto& [key, value] : m) (*this)(key), (*this)(value);
  }
  template <class Order>
  void operator()(const std::set<std::string, Order>& s) {
    (*this)(s.size());
    for (const std::string& key : s) (*this)(key);
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  void raw(const void* data, size_t size) {
    const auto* begin = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), begin, begin + size);
  }
  std::vector<std::byte> bytes_;
};

// Reads what a Packer wrote, in the same order and by the same types.
class Unpacker {
 public:
  explicit Unpacker(std::span<const std::byte> bytes) : bytes_(bytes) {}
  template <class T>
  void operator()(T& value) {
    if constexpr (std::is_trivially_copyable_v<T>) raw(&value, sizeof value);
    else each_field(value, *this);
  }
  void operator()(std::string& s) { s.resize(count(1)), raw(s.data(), s.size()); }
  template <class T>
  void operator()(std::vector<T>& v) {
    v.resize(count(sizeof(T))), raw(v.data(), v.size() * sizeof(T));
  }
  template <class T, class Order>
  void operator()(std::map<std::string, T, Order>& m) {
    m.clear();
    for (size_t n = count(1); n > 0; --n) {
      std::string key;
      (*this)(key), (*this)(m[key]);
    }
  }
  template <class Order>
  void operator()(std::set<std::string, Order>& s) {
    s.clear();
    for (size_t n = count(1); n > 0; --n) {
      std::string key;
      (*this)(key), s.insert(std::move(key));
    }
  }
  // Whether all of it was there, and nothing beyond.
  Status finish() const {
    return whole_ && bytes_.empty() ? Status() : Status(Code::kIo, "a message between processes is not what it should be");
  }

 private:
  // Of elements that have at least `size` bytes each.
  size_t count(size_t size) {
    size_t n = 0;
    (*this)(n);
    if (n <= bytes_.size() / size) return n;
    whole_ = false;
    return 0;
  }
  void raw(void* data, size_t size) {
    if (size > bytes_.size()) {
      whole_ = false, bytes_ = {};
      return;
    }
    if (size > 0) std::memcpy(data, bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
  }
  std::span<const std::byte> bytes_;
  bool whole_ = true;
};

}  // namespace sluice
