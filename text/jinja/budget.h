// What one rendering may spend. A template comes with a model file and its data with a request: neither is trusted to end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/status.h"

namespace sluice::jinja {

struct Limits {
  int64_t steps = 1'000'000;        // expressions and statements evaluated
  int depth = 100;                  // calls within calls; brackets and blocks within each other
  size_t output_factor = 8;         // output <= output_factor x bytes of text in the variables + output_extra
  size_t output_extra = 64u << 10;  // bytes
  size_t memory = 64u << 20;        // bytes of values alive at one time
  double seconds = 0.25;            // by the steady clock
};

// Thrown inside the engine only: Template catches it and returns a Status that names the line.
struct Failure {
  Code code;
  std::string message;
};

[[noreturn]] void fail(std::string message);       // the template or its data is wrong
[[noreturn]] void exhausted(std::string message);  // a limit was reached

class Budget {
 public:
  explicit Budget(const Limits& limits);
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  const Limits& limits() const { return limits_; }

  void step() {
    if (++steps_ > limits_.steps) out_of_steps();
    work(kStepWork);
  }
  // Bytes read, copied or compared by one operation; every so many of them the clock is read.
  void work(size_t bytes) {
    effort_ += bytes;
    if (effort_ >= next_look_) look_at_clock();
  }
  void take(size_t bytes) {
    if (bytes > limits_.memory - used_) out_of_memory();
    used_ += bytes;
  }
  void give(size_t bytes) { used_ -= bytes; }

 private:
  static constexpr size_t kStepWork = 256;        // a step costs about as much as copying this many bytes
  static constexpr size_t kLookEvery = 1u << 17;  // some tens of microseconds of work

  [[noreturn]] void out_of_steps() const;
  [[noreturn]] void out_of_memory() const;
  void look_at_clock();

  Limits limits_;
  double deadline_;
  int64_t steps_ = 0;
  size_t effort_ = 0, next_look_ = kLookEvery, used_ = 0;
};

}  // namespace sluice::jinja
