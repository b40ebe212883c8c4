// A loaded model behind an API: what the routes of every API share. Knows no HTTP and no JSON shape.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/loop.h"
#include "io/model_config.h"
#include "server/metrics.h"
#include "server/workers.h"
#include "text/chat.h"
#include "text/tokenizer.h"
#include "text/tool_parser.h"

namespace sluice {

struct ServiceOptions {
  std::vector<std::string> names;  // the first is shown; a request may use any
  LoopLimits queue;
  bool use_cache = true;     // the prefix cache
  std::string version = {};  // of the program
  int workers = 2;           // threads that read requests and tokenize
};

// What a checkpoint brings beside its weights.
struct ServiceTexts {
  Tokenizer tokenizer;
  std::optional<ChatTemplate> chat;
  GenerationConfig generation;
  std::vector<int32_t> stop_ids;  // tokens that end an answer
};

class Service {
 public:
  // Throws std::system_error where no thread can be started; create() says it.
  Service(std::unique_ptr<Engine> engine, ServiceTexts texts, ServiceOptions options);
  static Result<std::unique_ptr<Service>> create(std::unique_ptr<Engine> engine, ServiceTexts texts, ServiceOptions options);

  EngineLoop& loop() { return loop_; }
  Metrics& metrics() { return metrics_; }
  const Engine& engine() const { return loop_.engine(); }
  Workers& workers() { return workers_; }

  const std::string& name() const { return options_.names.front(); }
  const std::vector<std::string>& names() const { return options_.names; }
  bool has_name(std::string_view name) const;
  const std::string& version() const { return options_.version; }  // of the program
  int64_t created() const { return created_; }                     // unix seconds
  bool use_cache() const { return options_.use_cache; }
  const LoopLimits& queue_limits() const { return options_.queue; }

  const Tokenizer& tokenizer() const { return texts_.tokenizer; }
  const ChatTemplate* chat() const { return texts_.chat ? &*texts_.chat : nullptr; }
  const GenerationConfig& generation() const { return texts_.generation; }
  const std::vector<int32_t>& stop_ids() const { return texts_.stop_ids; }
  int64_t vocab_size() const { return engine().model().config().vocab_size; }
  int64_t max_context() const { return engine().max_context(); }

  // How the model writes calls and reasoning, by its chat template and the prompt that it rendered.
  ToolFormat tool_format() const { return tool_format_; }
  Reasoning reasoning(std::string_view prompt) const;

  // Requests for the engine that are being read: counted for as long as the result lives.
  int64_t on_their_way() const { return on_their_way_; }
  std::shared_ptr<void> count_on_its_way();

  // Set when the server drains: /ready says so.
  std::atomic<bool> draining{false};

 private:
  const ServiceOptions options_;
  const ServiceTexts texts_;
  const ToolFormat tool_format_;
  const int64_t created_;
  std::atomic<int64_t> on_their_way_{0};
  Metrics metrics_;  // before the loop, whose last answers are told to it
  EngineLoop loop_;
  Workers workers_;  // last: its jobs use the rest
};

}  // namespace sluice
