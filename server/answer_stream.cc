#include "server/answer_stream.h"

#include <mutex>

namespace sluice {
namespace {

// The outboxes keep it alive, and the engine keeps these until their answers end.
class AnswerStream : public std::enable_shared_from_this<AnswerStream> {
 public:
  AnswerStream(Service& service, std::unique_ptr<AnswerSink> sink, size_t choices)
      : service_(service), metrics_(service.metrics()), loop_(service.loop()), sink_(std::move(sink)), open_(choices) {}

  // One for each choice. First of all, since cancel() needs them.
  std::vector<std::shared_ptr<Outbox>> make_outboxes() {
    std::vector<std::shared_ptr<Outbox>> outboxes;
    for (size_t i = 0; i < open_; ++i)
      outboxes.push_back(std::make_shared<Outbox>([self = shared_from_this(), i] { self->pump(i); }));
    outboxes_.assign(outboxes.begin(), outboxes.end());
    return outboxes;
  }

  // received: when the client's request had been read.
  void start(std::vector<Request> choices, const std::vector<std::shared_ptr<Outbox>>& outboxes, double received) {
    for (size_t i = 0; i < choices.size(); ++i)
      watches_.emplace_back(metrics_, received, choices[i].max_tokens, i == 0 ? int64_t(choices.size()) : 0);
    for (size_t i = 0; i < choices.size(); ++i) {
      const auto id = loop_.submit(std::move(choices[i]), outboxes[i]);
      if (id.ok()) continue;
      const std::scoped_lock lock(mutex_);
      return fail(api_error(id.status()));
    }
    {
      const std::scoped_lock lock(mutex_);
      begun_ = true;
      if (sink_) sink_->begin();
    }
    for (size_t i = 0; i < outboxes.size(); ++i) pump(i);
  }

  // From any thread, also within a call of the sink. Needs no memory.
  void cancel() {
    for (const auto& weak : outboxes_)
      if (const auto outbox = weak.lock()) outbox->close();
  }
  void give_up() {
    const std::scoped_lock lock(mutex_);
    drop();
  }

 private:
  // Events wait in their outbox until all choices are accepted, so that a refusal comes before the first byte.
  void pump(size_t choice) {
    const auto outbox = outboxes_[choice].lock();
    const std::scoped_lock lock(mutex_);
    while (begun_ && outbox) {
      const auto e = outbox->pop();
      if (!e) break;
      watches_[choice].event(*e);
      try {
        if (sink_) take(choice, *e);
      } catch (const std::bad_alloc&) {
        drop();
      }
    }
  }

  void take(size_t choice, const Event& e) {
    if (e.finish == FinishReason::kError) return fail(failure(e.error));
    // Who cancelled is gone; only a shutdown still has a listener.
    if (e.finish == FinishReason::kCancelled) return fail(unavailable("the answer was cut: the server is shutting down"));
    sink_->event(choice, e);
    if (e.finish == FinishReason::kNone || --open_ > 0) return;
    if (!sink_->end_is_long()) sink_->end();
    else service_.workers().post([sink = std::shared_ptr<AnswerSink>(std::move(sink_))] { sink->end(); });
    sink_.reset();
  }

  // A request that runs lacks memory, not a place in the queue.
  static ApiError failure(const Status& status) {
    return status.code() == Code::kResourceExhausted ? unavailable(status.to_string()) : api_error(status);
  }

  void fail(const ApiError& error) {
    cancel();
    if (sink_) sink_->fail(error, begun_);
    sink_.reset();
  }

  // The end for lack of memory: the client gets 500, or a stream that is visibly cut.
  void drop() {
    cancel();
    sink_.reset();
  }

  Service& service_;
  Metrics& metrics_;
  EngineLoop& loop_;
  std::vector<std::weak_ptr<Outbox>> outboxes_;  // of each choice; never changed once they are there

  std::mutex mutex_;
  std::vector<AnswerWatch> watches_;  // of each choice
  std::unique_ptr<AnswerSink> sink_;  // null once the answer has ended
  size_t open_;                       // choices that have not finished
  bool begun_ = false;
};

}  // namespace

void follow_answers(Service& service, std::vector<Request> choices, const Responder& responder, std::unique_ptr<AnswerSink> sink) {
  const auto stream = std::make_shared<AnswerStream>(service, std::move(sink), choices.size());
  const auto outboxes = stream->make_outboxes();
  // Weak: the connection holds this callback as long as the answer lasts, and the stream holds the responder.
  responder.on_cancel([weak = std::weak_ptr(stream)](CancelReason) {
    if (const auto s = weak.lock()) s->cancel();
  });
  try {
    stream->start(std::move(choices), outboxes, responder.received());
  } catch (const std::bad_alloc&) {
    stream->give_up();
    throw;
  }
}

}  // namespace sluice
