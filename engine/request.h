// What is asked of the engine, and what it answers: plain data between a frontend and the scheduler.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/out_of_memory.h"
#include "base/status.h"
#include "engine/sampling.h"

namespace sluice {

class Tokenizer;

struct Request {
  std::vector<int32_t> prompt;
  Sampling sampling;         // with the tokens that stop the answer
  int64_t max_tokens = 256;  // 0: the prompt is computed and nothing is drawn
  // With a tokenizer, which must live as long as the request, the answer comes as text too, and may be stopped by it.
  const Tokenizer* tokenizer = nullptr;
  std::vector<std::string> stop_strings;
  bool skip_special = true;   // special tokens add nothing to the text
  bool include_stop = false;  // the text ends with the stop string or token, not before it
  int top_logprobs = 0;       // best tokens beside each drawn one, up to 20
  int prompt_logprobs = -1;   // 0 to 20: log-probabilities of the prompt's tokens, and so many best ones; -1: none
  int64_t speculate = -1;     // most drafts a step; -1: as the engine was started
  int priority = 0;           // the higher goes first, and is preempted last
  // What the request computes is kept for others that begin alike, and the other way round. Salts share nothing with each other.
  bool use_cache = true;
  std::string cache_salt;
  std::vector<int64_t> boundaries;  // token positions where another request may go on differently, such as ends of messages
  double submitted = 0;             // now_seconds() when the engine was given it; 0: set by submit()
};

enum class FinishReason : unsigned char { kNone, kStop, kLength, kCancelled, kError };

constexpr const char* finish_reason_name(FinishReason r) {
  constexpr const char* kNames[] = {"none", "stop", "length", "cancelled", "error"};
  return kNames[static_cast<int>(r)];
}

// Log-probabilities are natural and of the model's own distribution, before temperature, penalties and filters.
struct TokenLogprob {
  int32_t id = -1;
  float logprob = 0;
};

struct SampledToken : TokenLogprob {
  std::vector<TokenLogprob> best;  // as many as were asked for
};

struct Usage {
  int64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
  int64_t drafted = 0, accepted = 0;  // tokens that the draft head guessed, and those of them that came true
  int64_t preemptions = 0;
  double submitted = 0, admitted = 0;  // now_seconds() of both, the latter for the first time; 0: it never was
};

// One step's part of an answer.
struct Event {
  std::vector<SampledToken> tokens;  // stop token included
  // Of the prompt's tokens from the second on, as their pieces are computed.
  std::vector<SampledToken> prompt_logprobs;
  std::string text;         // what became certain: neither half a character nor what may be the start of a stop string
  int64_t prompt_done = 0;  // prompt tokens computed so far
  FinishReason finish = FinishReason::kNone;
  std::string stop_string;  // with kStop: which one it was; empty: the last token is the reason
  Status error;             // with kError
  Usage usage;              // so far
};

// A queue from the engine's thread to one consumer. Without memory for an event the answer breaks off: what is there is followed by
// an error.
class Outbox {
 public:
  // on_event, if given, is called on the engine's thread after each push; it must return at once, and not throw.
  explicit Outbox(std::function<void()> on_event = {}) : on_event_(std::move(on_event)) {}
  void push(Event event) noexcept {
    {
      const std::scoped_lock lock(mutex_);
      try {
        if (!broken_) events_.push_back(std::move(event));
      } catch (const std::bad_alloc&) {
        broken_ = closed_ = true;
      }
    }
    tell();
  }
  // The answer's end where there is no memory for its last event.
  void break_off() noexcept {
    {
      const std::scoped_lock lock(mutex_);
      broken_ = true;
    }
    tell();
  }
  std::optional<Event> pop() {
    const std::scoped_lock lock(mutex_);
    return take();
  }
  // Waits for one.
  Event wait() {
    std::unique_lock lock(mutex_);
    ready_.wait(lock, [&] { return !events_.empty() || (broken_ && !told_); });
    return *take();
  }

  // Nobody wants more: the request ends before the next step, as by Scheduler::cancel(). From any thread; needs no memory.
  void close() { closed_ = true; }
  bool closed() const { return closed_; }

 private:
  void tell() {
    ready_.notify_one();
    if (on_event_) on_event_();
  }
  std::optional<Event> take() {
    if (events_.empty()) {
      if (!broken_ || std::exchange(told_, true)) return std::nullopt;
      return Event{.finish = FinishReason::kError, .error = out_of_memory()};
    }
    Event e = std::move(events_.front());
    events_.pop_front();
    return e;
  }
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<Event> events_;
  bool broken_ = false, told_ = false;  // told_: the consumer has been given the error
  std::atomic<bool> closed_{false};
  std::function<void()> on_event_;
};

}  // namespace sluice
