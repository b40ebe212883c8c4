// The engine: a model, its pools, and steps over sequences. Everything that computes tokens goes through step().
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/batch.h"
#include "engine/kv_pool.h"
#include "engine/sequence.h"
#include "engine/state_pool.h"
#include "models/model.h"
#include "ops/sample/sample.h"

namespace sluice {

struct EngineOptions {
  std::string model;            // a checkpoint's folder
  bool random_weights = false;  // `model` is a config.json or its folder; no checkpoint is read
  DTypeChoice dtype = DTypeChoice::kAuto;
  int threads = 0;              // 0: one a physical core
  int64_t prefill_chunk = 512;  // most prompt tokens of one sequence in a step
  int64_t max_context = 0;      // tokens a sequence may have; 0: what the model allows
  int64_t max_sequences = 1;
  ImplChoices impl;
};

struct SampledToken {
  int32_t id = -1;
  float logprob = 0;  // natural, of the model's own distribution, before temperature and filters
};

class Engine {
 public:
  static Result<std::unique_ptr<Engine>> create(const EngineOptions& options);

  const Model& model() const { return *model_; }
  const EngineOptions& options() const { return options_; }
  const std::vector<std::string>& notes() const { return notes_; }
  Context& context() { return ctx_; }
  int64_t max_context() const { return max_context_; }
  StatePool& states() { return states_; }
  KvPool& kv() { return kv_; }

  // A sequence of these tokens, nothing computed yet. Refuses ids outside the vocabulary and more tokens than the context holds.
  Result<std::unique_ptr<Sequence>> open(std::vector<int32_t> ids);
  void close(Sequence& sequence);
  // Adds a token to be computed by the next step.
  Status append(Sequence& sequence, int32_t id);

  // One forward over the next tokens of some sequences. Returns the logits asked for, [rows, vocab] f32, valid until the next
  // step. The tokens count as computed, except with `verify`: then accept() says how many of them to keep.
  Result<Tensor> step(std::span<const Work> work, bool verify = false);
  Status accept(Sequence& sequence, int64_t count);

  // Computes all pending tokens in steps of prefill_chunk; returns the logits of the last one, [1, vocab]. `progress` hears the
  // number of tokens computed so far.
  Result<Tensor> prefill(Sequence& sequence, const std::function<void(int64_t)>& progress = {});

  // Draws the next token of `sequence` from row `row` of logits, which `adjust` changes first. kModelError, naming the first layer,
  // where they are not finite; kInvalidArgument where `adjust` leaves no token.
  Result<SampledToken> draw(const Sequence& sequence, const Tensor& logits, int64_t row, const SamplingParams& params,
                            const SampleRow& adjust = {});

 private:
  explicit Engine(EngineOptions options) : options_(std::move(options)) {}
  // Runs the sequence's tokens again and finds the first layer whose output is not finite.
  Status explain_not_finite(const Sequence& sequence);

  EngineOptions options_;
  std::unique_ptr<CpuRuntime> runtime_;
  Context ctx_;
  std::unique_ptr<Model> model_;
  std::vector<std::string> notes_;
  int64_t max_context_ = 0;
  StatePool states_;
  KvPool kv_;
  Pools pools_;
  Batch batch_;
};

}  // namespace sluice
