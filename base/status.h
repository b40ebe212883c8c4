// Errors as values. Libraries return Status or Result<T>; they neither print, abort nor throw across an API.
//
// A message is one line: what was wrong, where, and what was wanted. The hint says what to do about it.
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace sluice {

enum class Code {
  kOk,
  kInvalidArgument,    // the caller's tensor, flag or request is wrong
  kNotFound,           // a file, tensor or name does not exist
  kBadFile,            // a file is there and breaks its format
  kUnsupported,        // valid, and this build or machine cannot do it
  kResourceExhausted,  // memory, slots, pages, budgets
  kIo,                 // the operating system failed a read or write
  kModelError,         // the model produced something that is not finite
  kDevice,             // a GPU or its driver failed
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message, std::string hint = {})
      : code_(code), message_(std::move(message)), hint_(std::move(hint)) {}

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }
  const std::string& hint() const { return hint_; }

  // "message; hint" on one line, as shown to people.
  std::string to_string() const { return hint_.empty() ? message_ : message_ + "; " + hint_; }

  // The same error seen from further out: "where: message".
  Status in(const std::string& where) const { return ok() ? *this : Status(code_, where + ": " + message_, hint_); }

 private:
  Code code_ = Code::kOk;
  std::string message_, hint_;
};

inline Status ok_status() { return {}; }
inline Status invalid(std::string m, std::string hint = {}) { return {Code::kInvalidArgument, std::move(m), std::move(hint)}; }
inline Status bad_file(std::string m, std::string hint = {}) { return {Code::kBadFile, std::move(m), std::move(hint)}; }

// A value or the reason why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : v_(std::move(value)) {}         // NOLINT: implicit by design
  Result(Status status) : v_(std::move(status)) {}  // NOLINT: implicit by design
  bool ok() const { return std::holds_alternative<T>(v_); }
  Status status() const { return ok() ? Status() : std::get<Status>(v_); }
  T& value() & { return std::get<T>(v_); }
  const T& value() const& { return std::get<T>(v_); }
  T&& value() && { return std::get<T>(std::move(v_)); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }

 private:
  std::variant<T, Status> v_;
};

#define SLUICE_CONCAT_(a, b) a##b
#define SLUICE_CONCAT(a, b) SLUICE_CONCAT_(a, b)

#define SLUICE_RETURN_IF_ERROR(expr)                       \
  do {                                                     \
    if (::sluice::Status s_ = (expr); !s_.ok()) return s_; \
  } while (0)

// SLUICE_ASSIGN_OR_RETURN(auto x, make_x());
#define SLUICE_ASSIGN_OR_RETURN(lhs, expr) SLUICE_ASSIGN_OR_RETURN_(SLUICE_CONCAT(result_, __LINE__), lhs, expr)
#define SLUICE_ASSIGN_OR_RETURN_(tmp, lhs, expr) \
  auto tmp = (expr);                             \
  if (!tmp.ok()) return tmp.status();            \
  lhs = std::move(tmp).value()

}  // namespace sluice
