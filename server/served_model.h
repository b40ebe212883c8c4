// What a request is read against: the model's names, texts and bounds. Knows no engine, no HTTP and no JSON shape.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/loop.h"
#include "io/model_config.h"
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

class ServedModel {
 public:
  ServedModel(ServiceTexts texts, ServiceOptions options, int64_t vocab_size, int64_t max_context);

  const std::string& name() const { return options_.names.front(); }
  const std::vector<std::string>& names() const { return options_.names; }
  bool has_name(std::string_view name) const;
  const std::string& version() const { return options_.version; }  // of the program
  bool use_cache() const { return options_.use_cache; }
  const LoopLimits& queue_limits() const { return options_.queue; }

  const Tokenizer& tokenizer() const { return texts_.tokenizer; }
  const ChatTemplate* chat() const { return texts_.chat ? &*texts_.chat : nullptr; }
  const GenerationConfig& generation() const { return texts_.generation; }
  const std::vector<int32_t>& stop_ids() const { return texts_.stop_ids; }
  int64_t vocab_size() const { return vocab_size_; }
  int64_t max_context() const { return max_context_; }

  // How the model writes calls and reasoning, by its chat template and the prompt that it rendered.
  ToolFormat tool_format() const { return tool_format_; }
  Reasoning reasoning(std::string_view prompt) const;

 protected:
  const ServiceOptions options_;

 private:
  const ServiceTexts texts_;
  const ToolFormat tool_format_;
  const int64_t vocab_size_, max_context_;
};

}  // namespace sluice
