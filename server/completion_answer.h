// The engine's events to the answer of /v1/completions, for one prompt or several.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "server/answer_stream.h"
#include "server/openai_common.h"

namespace sluice {

// Tokens with log-probabilities in the older shape: four lists of equal length.
class LegacyLogprobs {
 public:
  LegacyLogprobs(const Tokenizer& tokenizer, bool as_ids) : tokenizer_(tokenizer), as_ids_(as_ids) {}
  // The first token of a prompt, of which there is none.
  void add_first(int32_t id);
  void add(const SampledToken& token);
  bool fresh() const { return fresh_; }  // nothing was ever added
  // Those since the last take(); offsets go on.
  boost::json::object take();

 private:
  void add_token(int32_t id);

  const Tokenizer& tokenizer_;
  bool as_ids_, fresh_ = true;
  int64_t offset_ = 0;  // characters before the next token
  boost::json::array tokens_, logprobs_, top_, offsets_;
};

struct CompletionPrompt {
  std::vector<int32_t> ids;
  std::string text;  // for echo
};

struct CompletionAnswerOptions {
  AnswerHead head;
  int n = 1;  // choices of each prompt
  bool stream = false, include_usage = false;
  bool logprobs = false, tokens_as_ids = false, return_token_ids = false;
  bool echo = false, prompt_logprobs = false;
  std::vector<CompletionPrompt> prompts;
};

class CompletionAnswer : public AnswerSink {
 public:
  CompletionAnswer(CompletionAnswerOptions options, const Service& service, Responder responder);
  void begin() override;
  void event(size_t choice, const Event& event) override;
  void end() override;
  bool end_is_long() const override { return !o_.stream; }
  void fail(const ApiError& error, bool begun) override;

 private:
  struct Choice {
    explicit Choice(LegacyLogprobs l) : logprobs(std::move(l)) {}
    std::string text;  // in a stream: what waits for the next chunk; the same below
    std::vector<SampledToken> tokens;
    LegacyLogprobs logprobs;
    bool echoed = false;                        // the text has the prompt
    std::vector<SampledToken> prompt_logprobs;  // of the prompt's second token and those behind it; the first choice has them
    bool held = false;                          // in a stream: what came waits for those
    const char* finish = nullptr;
    boost::json::value stop_reason;
  };
  const CompletionPrompt& prompt_of(size_t choice) const { return o_.prompts[choice / size_t(o_.n)]; }
  size_t first_of(size_t choice) const { return choice - choice % size_t(o_.n); }  // of the same prompt
  // Whether what a choice shows of its prompt is there.
  bool prompt_scored(size_t choice) const;
  void write_chunk(size_t index);
  boost::json::object logprobs_object(size_t index, const std::vector<SampledToken>& tokens);
  boost::json::object choice_object(size_t index);
  boost::json::object answer_object(boost::json::array choices) const;

  const CompletionAnswerOptions o_;
  const Service& service_;
  const Responder responder_;
  std::vector<Choice> choices_;
  UsageSum usage_;
};

}  // namespace sluice
