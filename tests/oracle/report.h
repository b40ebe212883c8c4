// A line a check, with the error measured and the limit, and the count at the end.
#pragma once

#include <cmath>
#include <cstdio>
#include <string>

namespace sluice {

class Report {
 public:
  void check(const std::string& name, bool ok, const std::string& detail) {
    std::printf("%s %s: %s\n", ok ? "pass" : "FAIL", name.c_str(), detail.c_str());
    ++(ok ? passed_ : failed_);
  }
  // A measured figure that must not exceed its limit; NaN fails.
  void at_most(const std::string& name, double measured, double limit) {
    char text[96];
    std::snprintf(text, sizeof text, "%.3g (limit %.3g)", measured, limit);
    check(name, measured <= limit, text);
  }
  void at_least(const std::string& name, double measured, double limit) {
    char text[96];
    std::snprintf(text, sizeof text, "%.4g (at least %.4g)", measured, limit);
    check(name, measured >= limit, text);
  }
  void skip(const std::string& name, const std::string& why) {
    std::printf("skip %s: %s\n", name.c_str(), why.c_str());
    ++skipped_;
  }
  // The closing line; the exit code.
  int finish() const {
    std::printf("%d passed, %d failed, %d skipped\n", passed_, failed_, skipped_);
    return failed_ == 0 && passed_ > 0 ? 0 : 1;
  }

 private:
  int passed_ = 0, failed_ = 0, skipped_ = 0;
};

}  // namespace sluice
