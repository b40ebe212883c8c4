#include "server/answer_stream.h"

#include <mutex>

namespace sluice {
namespace {

// The outboxes keep it alive, and the engine keeps these until their answers end.
class AnswerStream : public std::enable_shared_from_this<AnswerStream> {
 public:
  AnswerStream(Service& service, std::unique_ptr<AnswerSink> sink, size_t choices)
      : metrics_(service.metrics()), loop_(service.loop()), sink_(std::move(sink)), open_(choices) {}

  // received: when the client's request had been read.
  void start(std::vector<Request> choices, double received) {
    for (size_t i = 0; i < choices.size(); ++i)
      watches_.emplace_back(metrics_, received, choices[i].max_tokens, i == 0 ? int64_t(choices.size()) : 0);
    std::vector<std::shared_ptr<Outbox>> outboxes;
    for (size_t i = 0; i < choices.size(); ++i) {
      outboxes.push_back(std::make_shared<Outbox>([self = shared_from_this(), i] { self->pump(i); }));
      outboxes_.push_back(outboxes.back());
    }
    for (size_t i = 0; i < choices.size(); ++i) {
      auto id = loop_.submit(std::move(choices[i]), outboxes[i]);
      if (!id.ok()) {
        cancel();
        const std::scoped_lock lock(mutex_);
        return fail(api_error(id.status()));
      }
      remember(*id);
    }
    {
      const std::scoped_lock lock(mutex_);
      begun_ = true;
      if (sink_) sink_->begin();
    }
    for (size_t i = 0; i < outboxes.size(); ++i) pump(i);
  }

  // From any thread, also within a call of the sink.
  void cancel() {
    std::vector<RequestId> ids;
    {
      const std::scoped_lock lock(ids_mutex_);
      cancelled_ = true;
      ids.swap(ids_);
    }
    for (const RequestId id : ids) loop_.cancel(id);
  }

 private:
  void remember(RequestId id) {
    const std::scoped_lock lock(ids_mutex_);
    if (cancelled_) loop_.cancel(id);
    else ids_.push_back(id);
  }

  // Events wait in their outbox until all choices are accepted, so that a refusal comes before the first byte.
  void pump(size_t choice) {
    const auto outbox = outboxes_[choice].lock();
    const std::scoped_lock lock(mutex_);
    while (begun_ && outbox) {
      const auto e = outbox->pop();
      if (!e) break;
      watches_[choice].event(*e);
      if (sink_) take(choice, *e);
    }
  }

  void take(size_t choice, const Event& e) {
    if (e.finish == FinishReason::kError) return fail(api_error(e.error));
    // Who cancelled is gone; only a shutdown still has a listener.
    if (e.finish == FinishReason::kCancelled) return fail(unavailable("the answer was cut: the server is shutting down"));
    sink_->event(choice, e);
    if (e.finish == FinishReason::kNone || --open_ > 0) return;
    sink_->end();
    sink_.reset();
  }

  void fail(const ApiError& error) {
    cancel();
    if (sink_) sink_->fail(error, begun_);
    sink_.reset();
  }

  Metrics& metrics_;
  EngineLoop& loop_;
  std::vector<std::weak_ptr<Outbox>> outboxes_;

  std::mutex mutex_;
  std::vector<AnswerWatch> watches_;  // of each choice
  std::unique_ptr<AnswerSink> sink_;  // null once the answer has ended
  size_t open_;                       // choices that have not finished
  bool begun_ = false;

  std::mutex ids_mutex_;
  std::vector<RequestId> ids_;
  bool cancelled_ = false;
};

}  // namespace

void follow_answers(Service& service, std::vector<Request> choices, const Responder& responder, std::unique_ptr<AnswerSink> sink) {
  const auto stream = std::make_shared<AnswerStream>(service, std::move(sink), choices.size());
  // Weak: the connection holds this callback as long as the answer lasts, and the stream holds the responder.
  responder.on_cancel([weak = std::weak_ptr(stream)](CancelReason) {
    if (const auto s = weak.lock()) s->cancel();
  });
  stream->start(std::move(choices), responder.received());
}

}  // namespace sluice
