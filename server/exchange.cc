#include "server/exchange.h"

#include <algorithm>
#include <utility>

namespace sluice {

void Exchange::wake_locked() {
  if (wake_pending_ || !wake_) return;
  wake_pending_ = true;
  wake_now();
}

// Without memory for it the connection finds out by itself, see kLookAgain.
void Exchange::wake_now() {
  try {
    wake_();
  } catch (const std::bad_alloc&) {
    wake_pending_ = false;
  }
}

void Exchange::respond(HttpResponse response) {
  std::function<void(CancelReason)> dropped;  // destroyed without the mutex: it may hold anything
  const std::lock_guard lock(mutex_);
  if (state_ != State::kWaiting || closed_) return;
  head_ = std::move(response);
  state_ = State::kFinished;
  dropped = std::exchange(callback_, nullptr);
  wake_locked();
}

void Exchange::begin_stream(HttpResponse head, std::string heartbeat) {
  std::function<void(CancelReason)> callback;
  {
    const std::lock_guard lock(mutex_);
    if (state_ != State::kWaiting || closed_) return;
    head_ = std::move(head);
    heartbeat_ = std::move(heartbeat);
    streaming_ = true;
    state_ = State::kStreaming;
    if (head_only_) {  // HEAD: the header is all that is wanted
      state_ = State::kFinished;
      closed_ = true;
      reason_ = CancelReason::kClientGone;
      callback = std::exchange(callback_, nullptr);
    }
    wake_locked();
  }
  if (callback) callback(CancelReason::kClientGone);
}

WriteResult Exchange::write(std::string piece) {
  std::function<void(CancelReason)> callback;
  {
    const std::lock_guard lock(mutex_);
    if (state_ != State::kStreaming || closed_) return WriteResult::kGone;
    const size_t waiting = queue_.size() + being_written_;
    if (waiting == 0 || waiting + piece.size() <= queue_limit_) {
      if (queue_.empty()) {
        queue_ = std::move(piece);
      } else {
        queue_ += piece;
      }
      if (!queue_.empty()) wake_locked();
      return queue_.size() + being_written_ > queue_limit_ / 2 ? WriteResult::kSlow : WriteResult::kOk;
    }
    closed_ = broken_ = true;
    std::string().swap(queue_);
    if (reason_ == CancelReason::kNone) callback = std::exchange(callback_, nullptr);
    reason_ = CancelReason::kSlowReader;
    wake_pending_ = true;
    if (wake_) wake_now();  // even if it was called already: the connection may be waiting for the client, not for us
  }
  if (callback) callback(CancelReason::kSlowReader);
  return WriteResult::kGone;
}

WriteResult Exchange::write_repeat(std::string piece) {
  {
    const std::lock_guard lock(mutex_);
    queue_limit_ = std::max(queue_limit_, queue_.size() + being_written_) + piece.size();
  }
  return write(std::move(piece));
}

void Exchange::finish() {
  std::function<void(CancelReason)> dropped;
  const std::lock_guard lock(mutex_);
  if (state_ != State::kStreaming || closed_) return;
  state_ = State::kFinished;
  dropped = std::exchange(callback_, nullptr);
  wake_locked();
}

void Exchange::abandon() {
  std::function<void(CancelReason)> dropped;
  const std::lock_guard lock(mutex_);
  if (state_ == State::kFinished || closed_) return;
  closed_ = broken_ = true;
  dropped = std::exchange(callback_, nullptr);
  wake_locked();
}

void Exchange::on_cancel(std::function<void(CancelReason)> callback) {
  CancelReason reason;
  {
    const std::lock_guard lock(mutex_);
    reason = reason_;
    if (reason == CancelReason::kNone) {
      if (state_ != State::kFinished && !closed_) callback_ = std::move(callback);
      return;
    }
  }
  if (callback) callback(reason);
}

CancelReason Exchange::cancelled() const {
  const std::lock_guard lock(mutex_);
  return reason_;
}

Exchange::Output Exchange::take() {
  const std::lock_guard lock(mutex_);
  wake_pending_ = false;
  Output out;
  out.head = std::exchange(head_, std::nullopt);
  out.heartbeat = std::exchange(heartbeat_, {});
  out.pieces = std::exchange(queue_, {});
  being_written_ = out.pieces.size();
  out.streaming = streaming_;
  out.finished = state_ == State::kFinished;
  out.broken = broken_;
  return out;
}

void Exchange::written() {
  const std::lock_guard lock(mutex_);
  being_written_ = 0;
}

void Exchange::cancel(CancelReason reason) {
  std::function<void(CancelReason)> callback;
  {
    const std::lock_guard lock(mutex_);
    if (closed_ || state_ == State::kFinished) return;
    if (reason != CancelReason::kShutdown) {
      closed_ = true;
      std::string().swap(queue_);
    }
    if (reason_ != CancelReason::kNone) return;
    reason_ = reason;
    callback = std::exchange(callback_, nullptr);
  }
  if (callback) callback(reason);
}

bool Exchange::too_slow() const {
  const std::lock_guard lock(mutex_);
  return broken_ && reason_ == CancelReason::kSlowReader;
}

void Exchange::detach() {
  std::function<void(CancelReason)> dropped;
  const std::lock_guard lock(mutex_);
  closed_ = true;
  wake_ = nullptr;
  dropped = std::exchange(callback_, nullptr);
  std::string().swap(queue_);
}

}  // namespace sluice
