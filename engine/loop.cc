#include "engine/loop.h"

#include <algorithm>

#include "base/clock.h"

namespace sluice {

EngineLoop::EngineLoop(std::unique_ptr<Engine> engine, LoopLimits limits)
    : engine_(std::move(engine)), limits_(limits), scheduler_(*engine_) {
  publish(0, {});
  scheduler_.on_lost([this](const Status& why) {  // so that whoever is told of it finds the same in health()
    const std::scoped_lock lock(mutex_);
    health_ = why;
  });
  thread_ = std::thread([this] { run(); });
}

EngineLoop::~EngineLoop() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

Result<RequestId> EngineLoop::submit(Request request, std::shared_ptr<Outbox> outbox) {
  SLUICE_RETURN_IF_ERROR(check_request(*engine_, request));
  const RequestId id = next_id_++;
  if (request.submitted == 0) request.submitted = now_seconds();
  const int64_t tokens = int64_t(request.prompt.size());
  {
    const std::scoped_lock lock(mutex_);
    SLUICE_RETURN_IF_ERROR(room_locked(0));
    if (unseen_tokens_ + report_.scheduler.waiting_tokens + tokens > limits_.waiting_tokens) {
      ++report_.refused;
      return Status(Code::kResourceExhausted, "prompts of too many tokens are waiting", "try again later");
    }
    inbox_.push_back({.id = id, .request = std::move(request), .outbox = std::move(outbox)});
    ++unseen_requests_, unseen_tokens_ += tokens;
  }
  wake_.notify_one();
  return id;
}

Status EngineLoop::room(int64_t ahead) {
  const std::scoped_lock lock(mutex_);
  return room_locked(ahead);
}

Status EngineLoop::room_locked(int64_t ahead) {
  if (!health_.ok()) return health_;
  const Scheduler::Stats& s = report_.scheduler;
  // Where some wait, it is not for places.
  const int64_t places = s.waiting > 0 ? 0 : engine_->options().max_sequences - s.running;
  const int64_t waiting = s.waiting + std::max<int64_t>(0, unseen_requests_ + ahead - places);
  if (waiting < limits_.waiting_requests) return {};
  ++report_.refused;
  return {Code::kResourceExhausted, std::to_string(waiting) + " requests are waiting", "try again later"};
}

void EngineLoop::cancel(RequestId id) {
  {
    const std::scoped_lock lock(mutex_);
    inbox_.push_back({.id = id, .cancel = true});
  }
  wake_.notify_one();
}

Status EngineLoop::health() const {
  const std::scoped_lock lock(mutex_);
  return health_;
}

EngineLoop::Report EngineLoop::report() const {
  const std::scoped_lock lock(mutex_);
  return report_;
}

void EngineLoop::run() {
  (void)engine_->enter_thread();  // a failure comes again with the first step
  std::vector<Message> messages;
  for (;; messages.clear()) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stop_ || !inbox_.empty() || !scheduler_.idle(); });
      messages.swap(inbox_);
      if (stop_) break;
    }
    for (Message& m : messages) {
      if (m.cancel) scheduler_.cancel(m.id);
      else scheduler_.submit(m.id, std::move(m.request), std::move(m.outbox));
    }
    const double begin = now_seconds();
    const Status stepped = scheduler_.step();
    publish(now_seconds() - begin, stepped);
  }
  for (Message& m : messages)
    if (!m.cancel) scheduler_.submit(m.id, std::move(m.request), std::move(m.outbox));
  scheduler_.cancel_all();
}

void EngineLoop::publish(double step_s, const Status& stepped) {
  StatePool& states = engine_->states();
  KvPool& kv = engine_->kv();
  PrefixCache& cache = engine_->cache();
  const std::scoped_lock lock(mutex_);
  const Scheduler::Stats stats = scheduler_.stats();
  const Scheduler::Stats& before = report_.scheduler;
  const int64_t tokens = stats.prompt_tokens - before.prompt_tokens + stats.generated_tokens - before.generated_tokens;
  if (tokens > 0) report_.step_tokens.add(double(tokens)), report_.step_seconds.add(step_s);
  report_.scheduler = stats;
  report_.cache = cache.counters();
  report_.state_slots = states.slots(), report_.state_free = states.free_slots(), report_.snapshots = cache.snapshots();
  if (const Int8Snapshots* int8 = states.int8_snapshots()) {
    report_.state_slots += int8->places(), report_.state_free += int8->free();
    report_.snapshot_errors = int8->errors();
  }
  report_.kv_pages = kv.pages(), report_.kv_free = kv.free_pages(), report_.kv_cached = cache.evictable_pages();
  report_.busy_s += step_s, report_.last_step_s = step_s;
  report_.failed_steps += !stepped.ok();
  unseen_requests_ = unseen_tokens_ = 0;
  for (const Message& m : inbox_)
    if (!m.cancel) ++unseen_requests_, unseen_tokens_ += int64_t(m.request.prompt.size());
}

}  // namespace sluice
