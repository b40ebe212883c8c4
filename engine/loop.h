// A thread around a Scheduler: requests come in from any thread through one inbox, answers go out through their outboxes.
//
// The thread owns the engine, its pools and its cache. It sleeps while there is nothing to do, and looks into the inbox between
// steps, so that a cancelled request ends within the step in hand.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/histogram.h"
#include "engine/scheduler.h"

namespace sluice {

struct LoopLimits {
  // Beyond it a request is refused, so that a client can go elsewhere at once. Those that can run at once do not wait.
  int64_t waiting_requests = 512;
  int64_t waiting_tokens = 16'777'216;  // of prompts that wait: 64 MiB of ids
};

class EngineLoop {
 public:
  static constexpr std::array<double, 13> kStepTokenBounds{1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
  static constexpr std::array<double, 13> kStepSecondBounds{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10};

  EngineLoop(std::unique_ptr<Engine> engine, LoopLimits limits);
  // Cancels what runs and joins the thread.
  ~EngineLoop();
  EngineLoop(const EngineLoop&) = delete;
  EngineLoop& operator=(const EngineLoop&) = delete;

  // kInvalidArgument: it can never be served. kResourceExhausted: too many wait. kDevice: see health(). Otherwise events
  // follow, the last with a finish.
  Result<RequestId> submit(Request request, std::shared_ptr<Outbox> outbox);
  // What submit() would say to one more request behind `ahead` others that are on their way to it; cheap, and needs no tokens.
  Status room(int64_t ahead = 0);
  void cancel(RequestId id);
  // kDevice once a step found its device gone: all requests were given that, and no more are served.
  Status health() const;

  // What the engine's thread said after its last step.
  struct Report {
    Scheduler::Stats scheduler;
    PrefixCache::Counters cache;
    // Places in the state pool, of snapshots in int8 too: all, those that are free, and those that hold a snapshot of the cache.
    int64_t state_slots = 0, state_free = 0, snapshots = 0;
    HistogramCounts snapshot_errors{Int8Snapshots::kErrorBounds};
    int64_t kv_pages = 0, kv_free = 0, kv_cached = 0;  // cached: those of them that no sequence uses
    double busy_s = 0;                                 // in steps
    double last_step_s = 0;                            // duration of the last one
    int64_t failed_steps = 0;                          // those that failed as a whole
    int64_t refused = 0;                               // requests that were not taken because too many wait
    // Steps by the tokens that they computed of prompts and drew for answers, and by duration; those without a token are left out.
    HistogramCounts step_tokens{kStepTokenBounds}, step_seconds{kStepSecondBounds};
  };
  Report report() const;
  const Engine& engine() const { return *engine_; }

 private:
  struct Message {
    RequestId id = 0;
    bool cancel = false;
    Request request;
    std::shared_ptr<Outbox> outbox;
  };
  void run();
  void publish(double step_s, const Status& stepped);
  Status room_locked(int64_t ahead);

  const std::unique_ptr<Engine> engine_;
  const LoopLimits limits_;
  Scheduler scheduler_;  // the thread's
  std::atomic<RequestId> next_id_{1};

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Message> inbox_;
  int64_t unseen_requests_ = 0, unseen_tokens_ = 0;  // sent since the last report
  bool stop_ = false;
  Report report_;
  Status health_;

  std::thread thread_;  // last: it uses the rest
};

}  // namespace sluice
