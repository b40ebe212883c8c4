// A loaded model behind an API: what the routes of every API share. Knows no HTTP and no JSON shape.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "engine/loop.h"
#include "server/metrics.h"
#include "server/served_model.h"
#include "server/workers.h"

namespace sluice {

class Service : public ServedModel {
 public:
  // Throws std::system_error where no thread can be started; create() says it.
  Service(std::unique_ptr<Engine> engine, ServiceTexts texts, ServiceOptions options);
  static Result<std::unique_ptr<Service>> create(std::unique_ptr<Engine> engine, ServiceTexts texts, ServiceOptions options);

  EngineLoop& loop() { return loop_; }
  Metrics& metrics() { return metrics_; }
  const Engine& engine() const { return loop_.engine(); }
  Workers& workers() { return workers_; }

  int64_t created() const { return created_; }  // unix seconds

  // Requests for the engine that are being read: counted for as long as the result lives.
  int64_t on_their_way() const { return on_their_way_; }
  std::shared_ptr<void> count_on_its_way();

  // Set when the server drains: /ready says so.
  std::atomic<bool> draining{false};

 private:
  const int64_t created_;
  std::atomic<int64_t> on_their_way_{0};
  Metrics metrics_;  // before the loop, whose last answers are told to it
  EngineLoop loop_;
  Workers workers_;  // last: its jobs use the rest
};

}  // namespace sluice
