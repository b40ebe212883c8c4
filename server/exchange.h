// One request's answer on its way from the handler's thread to the connection's: a bounded queue and a state, under one mutex.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "base/clock.h"
#include "server/message.h"

namespace sluice {

class Exchange {
 public:
  // A connection looks at least this often at a request that runs.
  static constexpr std::chrono::seconds kLookAgain{1};

  // `wake` makes the connection look again. It is called with the mutex held and must only post.
  Exchange(std::function<void()> wake, size_t queue_limit, bool head_only)
      : queue_limit_(queue_limit), head_only_(head_only), wake_(std::move(wake)) {}

  // The handler's side: any thread.
  void respond(HttpResponse response);
  void begin_stream(HttpResponse head, std::string heartbeat);
  WriteResult write(std::string piece);
  WriteResult write_repeat(std::string piece);
  void finish();
  void abandon();  // no Responder is left
  void on_cancel(std::function<void(CancelReason)> callback);
  CancelReason cancelled() const;
  double received() const { return received_; }

  // The connection's side: its own thread.
  struct Output {
    std::optional<HttpResponse> head;  // once; its body is the whole answer unless `streaming`
    std::string heartbeat;             // beside the head
    std::string pieces;                // of a stream, since the last take()
    bool streaming = false;
    bool finished = false;  // nothing comes after this
    bool broken = false;    // the handler gave up, or the client was too slow
  };
  Output take();
  // The pieces of the last take() are out of our hands.
  void written();
  void cancel(CancelReason reason);
  // The client was too slow: what is being written need not be.
  bool too_slow() const;
  // The connection is done with this request; nothing of the handler's reaches it from here on.
  void detach();

 private:
  enum class State { kWaiting, kStreaming, kFinished };
  void wake_locked();
  void wake_now();

  const double received_ = now_seconds();
  size_t queue_limit_;
  const bool head_only_;
  mutable std::mutex mutex_;
  std::function<void()> wake_;
  bool wake_pending_ = true;  // the connection looks once by itself after the handler has returned
  State state_ = State::kWaiting;
  std::optional<HttpResponse> head_;
  std::string heartbeat_;
  std::string queue_;
  size_t being_written_ = 0;
  bool streaming_ = false;
  bool closed_ = false;  // no more is taken from the handler
  bool broken_ = false;
  CancelReason reason_ = CancelReason::kNone;
  std::function<void(CancelReason)> callback_;
};

}  // namespace sluice
