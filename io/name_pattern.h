// Names of modules as quantization_config lists them.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"

struct pcre2_real_code_8;

namespace sluice {

class NamePattern {
 public:
  // A name, or behind "re:" a pattern that must match from the name's beginning on, as Python's re.match has it. kBadFile where it
  // does not compile.
  static Result<NamePattern> parse(const std::string& text);
  // A name, or its first or last parts between dots.
  static NamePattern part(const std::string& text) { return NamePattern(text, Kind::kPart); }

  bool matches(std::string_view name) const;
  const std::string& text() const { return text_; }
  bool operator==(const NamePattern& o) const { return text_ == o.text_ && kind_ == o.kind_; }

 private:
  enum class Kind { kName, kRegex, kPart };
  NamePattern(std::string text, Kind kind) : text_(std::move(text)), kind_(kind) {}

  std::string text_;
  Kind kind_;
  std::shared_ptr<pcre2_real_code_8> code_;  // of kRegex
};

}  // namespace sluice
