// The engine: a model, its pools, and steps over sequences. Everything that computes tokens goes through step().
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/group.h"
#include "core/replay.h"
#include "core/runtime.h"
#include "engine/batch.h"
#include "engine/kv_pool.h"
#include "engine/memory_plan.h"
#include "engine/prefix_cache.h"
#include "engine/request.h"
#include "engine/sequence.h"
#include "engine/state_pool.h"
#include "models/model.h"
#include "ops/sample/sample.h"

namespace sluice {

struct EngineOptions {
  std::string model;            // a checkpoint's folder
  bool random_weights = false;  // `model` is a config.json or its folder; no checkpoint is read
  DTypeChoice dtype = DTypeChoice::kAuto;
  std::optional<Quantize> quantize;  // weights, as they are loaded; on the CPU
  Device device{};
  int threads = 0;              // 0: one a physical core
  size_t workspace = 0;         // bytes on a GPU for what a step computes; 0: what the largest step was seen to need, at the start
  int64_t prefill_chunk = 0;    // most prompt tokens of one sequence in a step; 0: what suits the device
  int64_t max_context = 0;      // tokens a sequence may have; 0: what the model allows
  int64_t max_sequences = 1;    // at once
  int64_t state_slots = 0;      // running sequences and snapshots; 0: one a sequence and one more
  int64_t kv_tokens = 0;        // in all sequences and the prefix cache; 0: every sequence at full length
  bool room_for_cache = false;  // where these are 0: as much again as memory allows, for the prefix cache
  int64_t speculate = 0;        // most tokens that the draft head guesses ahead; 0: it is not used
  // A sequence's bits do not depend on how it is cut into steps nor on what runs beside it. On the CPU always so.
  bool batch_invariant = false;
  ImplChoices impl;
  TileChoices tiles;
  PdlChoice pdl;
  bool graphs = true;             // on a GPU: steps of up to kMostReplayedRows rows are recorded and replayed
  bool int8_snapshots = false;    // in the memory of the slots beyond max_sequences: more of them, and not exact
  int64_t lose_device_after = 0;  // steps, for rehearsals: from then on each fails as on a device that is gone; 0: never
  LoadProgress show_loading;      // null: nobody looks
  Ranks* ranks = nullptr;         // that share the model; each takes the device behind the last one's. Null: this process alone
};

// A token to be drawn from row `row` of logits, for a position.
struct Draw {
  int64_t row = 0, position = 0;
  const SamplingParams* params = nullptr;
  SampleRow adjust = {};
  int best = 0;  // log-probabilities of so many best tokens
};
// A token whose log-probability at row `row` of logits is wanted.
struct Score {
  int64_t row = 0;
  int32_t id = -1;
  int best = 0;
};

// A kModelError: the model's `what`.
Status not_finite(const std::string& what);

struct Order;

class Engine {
 public:
  // Of a step that is recorded; a longer one keeps the GPU busy while the host launches its kernels.
  static constexpr int64_t kMostReplayedRows = 2048;

  // Among ranks: rank 0's call tells the others, which follow (engine/follow.h).
  static Result<std::unique_ptr<Engine>> create(const EngineOptions& options);
  ~Engine();

  const Model& model() const { return *model_; }
  const EngineOptions& options() const { return options_; }
  const std::vector<std::string>& notes() const { return notes_; }
  Context& context() { return ctx_; }
  int threads() const { return ctx_.team ? ctx_.team->size() : 0; }  // of the CPU that compute
  // Calls that the implementation chosen for them could not serve.
  const std::vector<Fallback>& fallbacks() const { return fallbacks_; }
  // Before the first call from a thread other than the one that made the engine.
  Status enter_thread() { return runtime_->enter_thread(); }
  // Waits for all that the device was given to do.
  Status wait() { return runtime_->synchronize(); }
  int64_t max_context() const { return max_context_; }
  StatePool& states() { return states_; }
  KvPool& kv() { return kv_; }
  const Pools& pools() const { return pools_; }
  PrefixCache& cache() { return *cache_; }
  const MemoryPlan& memory() const { return memory_; }

  // Refuses no tokens, ids outside the vocabulary, and more than the context holds (too_long()).
  Status check(std::span<const int32_t> ids) const;
  Status too_long(size_t tokens) const;
  // A sequence of these tokens, nothing computed yet, if check() takes them.
  Result<std::unique_ptr<Sequence>> open(std::vector<int32_t> ids);
  void close(Sequence& sequence);
  // Adds a token to be computed by the next step.
  Status append(Sequence& sequence, int32_t id);

  // One forward over the next tokens of some sequences; work to be verified comes first. The output lives until the next step.
  // Tokens count as computed, but for those to be verified: accept() says how many of them to keep.
  Result<StepOutput> step(std::span<const Work> work, const LayerObserver& observe = {});
  // hidden: rows [1, hidden] of the step's output that belongs to the last token kept.
  Status accept(Sequence& sequence, int64_t count, const Tensor& hidden);
  // The draft head over rows of some sequences, in the arena behind the step's output. hidden_before: one row for each.
  Result<StepOutput> draft(std::span<const DraftRows> rows, const Tensor& hidden_before);
  // Steps, and steps of the draft head, that were recorded.
  int64_t recorded_steps() const { return replays_.recordings() + draft_replays_.recordings(); }
  // Steps are recorded anew.
  void forget_graphs() { replays_.clear(), draft_replays_.clear(); }
  bool drafting() const { return options_.speculate > 0; }

  // Computes all pending tokens in steps of prefill_chunk; returns the logits of the last one, [1, vocab].
  Result<Tensor> prefill(Sequence& sequence);

  // Draws a token from some rows of logits, with the best ones where wanted. An id below 0 says why there is none (ops/sample).
  Status draw(const Tensor& logits, std::span<const Draw> draws, std::vector<SampledToken>& tokens);
  Status score(const Tensor& logits, std::span<const Score> scores, std::vector<SampledToken>& tokens);
  // For an observer of a step: not_finite() with the layer and the first position, if any of these rows is; row 0 is of `position`.
  Status check_finite(int64_t layer, const Tensor& hidden, int64_t position) const;

  // On a rank other than 0: computes what rank 0's engine computes, until that is gone.
  Status follow();

 private:
  explicit Engine(EngineOptions options) : options_(std::move(options)) {}
  static Result<std::unique_ptr<Engine>> load(const EngineOptions& options);
  Status start_device();
  Status load_model();
  Result<size_t> room();
  Result<size_t> workspace_of_largest_step();
  Status make_workspace();
  Status make_pools();
  void use_pools(StatePool states, KvPool kv);
  // On a GPU: what a step needs of its own is little where its shape is common, be it a recording or a library's plans.
  Padding padding() const {
    return options_.graphs && Replays<StepOutput>::records(ctx_) ? Padding::kToCommonShapes : Padding::kNone;
  }
  // By a recording where the batch is worth one.
  template <class Compute>
  Result<StepOutput> run(Replays<StepOutput>& replays, const Batch& batch, Padding padding, Compute&& compute) {
    const bool replay = padding == Padding::kToCommonShapes && batch.rows() <= kMostReplayedRows;
    SLUICE_ASSIGN_OR_RETURN(const StepOutput out, replay ? replays.run(ctx_, shape_of(batch), compute) : compute());
    return without_padding(out, batch);
  }
  Result<StepOutput> forward_here(Padding padded, const LayerObserver& observe);
  Result<StepOutput> draft_here(const Tensor& hidden);
  // Between ranks; nothing where there is one. Until all are open each does by itself what the others do.
  bool leads() const { return options_.ranks && options_.ranks->leads(); }
  Status agree(const Status& mine) { return options_.ranks ? options_.ranks->agree(mine) : mine; }
  Status tell(Order order);
  template <class Work>
  auto together(Work&& work);
  Status obey(const Order& order);

  EngineOptions options_;
  std::unique_ptr<Runtime> runtime_;
  std::unique_ptr<Group> group_;
  bool opened_ = false;  // on all ranks
  bool apart_ = false;   // they are no longer at the same point: nothing more can be asked of them
  Context ctx_;
  std::vector<Fallback> fallbacks_;
  std::unique_ptr<Model> model_;
  std::vector<std::string> notes_;
  int64_t max_context_ = 0;
  MemoryPlan memory_;
  StatePool states_;
  KvPool kv_;
  Pools pools_;
  std::unique_ptr<PrefixCache> cache_;
  Batch batch_, draft_batch_;
  Replays<StepOutput> replays_, draft_replays_;
  int64_t steps_ = 0;
};

}  // namespace sluice
