#include "engine/engine.h"

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "base/out_of_memory.h"
#include "core/backend.h"
#include "engine/follow.h"
#include "engine/rehearsal.h"
#include "models/rows.h"
#include "models/step_tables.h"
#include "ops/copy_rows/copy_rows.h"
#include "ops/token_logprobs/token_logprobs.h"

namespace sluice {
namespace {

Status check_forced(const ImplChoices& forced) {
  const std::vector<OpInfo> ops = all_ops();
  for (const auto& [op, choice] : forced) {
    if (!choice.strict) continue;
    const auto it = std::ranges::find_if(ops, [&](const OpInfo& o) { return op == o.name; });
    if (it == ops.end()) return invalid("SLUICE_IMPL: there is no operator '" + op + "'", "`sluice doctor --ops` lists them");
    if (std::ranges::none_of(it->impls, [&](const ImplInfo& i) { return choice.impl == i.name; }))
      return invalid("SLUICE_IMPL: operator '" + op + "' has no implementation '" + choice.impl + "'",
                     "`sluice doctor --ops` lists them");
  }
  return {};
}

// The first row that holds a value that is not finite, if any.
std::optional<int64_t> first_row_not_finite(const Tensor& t) {
  for (int64_t r = 0; r < t.dim(0); ++r)
    for (int64_t c = 0; c < t.dim(1); ++c) {
      const float v = t.dtype == DType::kBF16 ? float(t.as<Bf16>()[r * t.stride[0] + c]) : t.as<float>()[r * t.stride[0] + c];
      if (!std::isfinite(v)) return r;
    }
  return std::nullopt;
}

std::string layer_name(const ModelConfig& c, int64_t layer) {
  if (layer < 0) return "the embedding";
  if (layer >= c.num_layers) return "the final norm";
  return "layer " + std::to_string(layer) +
         (c.layers[size_t(layer)] == LayerKind::kLinearAttention ? " (linear_attention)" : " (full_attention)");
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::create(const EngineOptions& options) {
  return or_out_of_memory([&] { return load(options); });
}

// All ranks do one part after the other, and none begins the next where one has failed.
Result<std::unique_ptr<Engine>> Engine::load(const EngineOptions& options) {
  SLUICE_RETURN_IF_ERROR(check_forced(options.impl));
  if (options.ranks && options.int8_snapshots)
    return Status(Code::kUnsupported, "snapshots in int8 are of one process so far", "leave them or --tp out");
  std::unique_ptr<Engine> e(new Engine(options));
  if (e->leads()) SLUICE_RETURN_IF_ERROR(sluice::tell(*options.ranks, {.kind = Order::Kind::kOpen, .options = options}));
  SLUICE_RETURN_IF_ERROR(e->agree(e->start_device()));
  if (options.ranks) {
    auto group = make_group(*options.ranks, e->ctx_);
    SLUICE_RETURN_IF_ERROR(e->agree(group.status()));
    e->group_ = std::move(*group);
  }
  SLUICE_RETURN_IF_ERROR(e->agree(or_out_of_memory([&] { return e->load_model(); })));
  SLUICE_RETURN_IF_ERROR(e->agree(e->make_workspace()));
  SLUICE_RETURN_IF_ERROR(e->agree(e->make_pools()));
  if (e->leads()) e->states_.note_copies();
  e->opened_ = true;
  return e;
}

Status Engine::start_device() {
  if (options_.ranks) share_machine(options_.ranks->rank(), options_.ranks->size(), options_.device, options_.threads);
  ImplChoices impl = options_.impl;
  if (options_.batch_invariant) SLUICE_RETURN_IF_ERROR(choose_invariant_forms(options_.device, impl));
  constexpr size_t kUntilMeasured = size_t(64) << 20;  // bytes of workspace
  SLUICE_ASSIGN_OR_RETURN(runtime_, Runtime::create(options_.device, options_.threads, std::move(impl), kUntilMeasured));
  ctx_ = runtime_->context();
  if (options_.prefill_chunk == 0) options_.prefill_chunk = runtime_->rows_of_a_step();
  batch_.invariant = options_.batch_invariant;
  ctx_.tiles = &options_.tiles, ctx_.pdl = &options_.pdl, ctx_.fallbacks = &fallbacks_;
  return {};
}

Status Engine::load_model() {
  const EngineOptions& o = options_;
  const LoadOptions load{.dtype = o.dtype, .where = ctx_, .show = o.show_loading, .group = group_.get(), .quantize = o.quantize};
  SLUICE_ASSIGN_OR_RETURN(LoadedModel loaded, o.random_weights ? random_model(o.model, load) : sluice::load_model(o.model, load));
  options_.show_loading = {};
  model_ = std::move(loaded.model);
  notes_ = std::move(loaded.notes);
  if (o.speculate > 0 && !model_->has_mtp())
    return invalid("--speculate " + std::to_string(o.speculate) + ": the checkpoint has no multi-token prediction head",
                   "leave the option out");
  return {};
}

// Bytes that the device has left; among ranks what each of them has, so that all plan alike.
Result<size_t> Engine::room() {
  const size_t left = memory_left(ctx_);
  if (!options_.ranks) return left;
  const size_t mine = ctx_.device.kind == DeviceKind::kCpu ? left / size_t(options_.ranks->size()) : left;
  SLUICE_ASSIGN_OR_RETURN(const int64_t least, options_.ranks->least(int64_t(mine)));
  return size_t(least);
}

void Engine::use_pools(StatePool states, KvPool kv) {
  states_ = std::move(states), kv_ = std::move(kv);
  pools_ = {.linear = states_.layers(), .attention = kv_.layers(), .closed_hidden = states_.closed_hidden()};
}

// Steps are tried in what is left beside the weights, with pools of one slot and one page.
Result<size_t> Engine::workspace_of_largest_step() {
  const PoolSpec spec = model_->pool_spec(drafting());
  auto slot = StatePool::create(spec, 1, ctx_);
  auto page = KvPool::create(spec, 1, ctx_);
  SLUICE_RETURN_IF_ERROR(agree(slot.ok() ? page.status() : slot.status()));
  use_pools(std::move(*slot), std::move(*page));
  SLUICE_ASSIGN_OR_RETURN(size_t room, this->room());
  room = room / 10 * 9;
  SLUICE_RETURN_IF_ERROR(agree(runtime_->set_workspace(room)));
  const int64_t allowed = model_->config().max_position_embeddings;
  const int64_t context = options_.max_context > 0 ? std::min(options_.max_context, allowed) : allowed;
  const int64_t wanted = std::min(options_.prefill_chunk, options_.max_sequences * context);
  Status done = rehearse(*this, wanted);
  for (int64_t fits = wanted / 2; done.code() == Code::kResourceExhausted; fits /= 2) {
    const bool none = fits < kChunk;
    if (!none && rehearse(*this, fits).code() == Code::kResourceExhausted) continue;
    return Status(Code::kResourceExhausted,
                  "steps of " + std::to_string(wanted) + " prompt tokens do not fit in the " + std::to_string(room >> 20) +
                      " MiB that the weights leave",
                  none ? "use a device with more memory" : "lower --prefill-chunk to " + std::to_string(fits));
  }
  forget_graphs();  // of places in this workspace
  fallbacks_.clear();
  SLUICE_RETURN_IF_ERROR(done);
  return ctx_.arena->peak();
}

Status Engine::make_workspace() {
  if (ctx_.device.kind == DeviceKind::kCpu) return {};
  size_t bytes = options_.workspace;
  if (bytes == 0) {
    constexpr size_t kMore = size_t(64) << 20;  // for what cuts the same work differently
    SLUICE_ASSIGN_OR_RETURN(bytes, workspace_of_largest_step());
    bytes += bytes / 16 + kMore;
  }
  use_pools({}, {});
  memory_.workspace = bytes;
  return runtime_->set_workspace(bytes);
}

Status Engine::make_pools() {
  PoolSpec spec = model_->pool_spec(drafting());
  SLUICE_ASSIGN_OR_RETURN(const size_t free, room());
  SLUICE_ASSIGN_OR_RETURN(memory_, plan_memory({.bounded = ctx_.device.kind != DeviceKind::kCpu,
                                                .free = free,
                                                .weights = model_->weight_bytes(),
                                                .workspace = memory_.workspace,
                                                .slot_bytes = StatePool::bytes_of_slot(spec),
                                                .page_bytes = KvPool::page_bytes(spec),
                                                .page_tokens = KvPool::kPageTokens,
                                                .max_sequences = options_.max_sequences,
                                                .state_slots = options_.state_slots,
                                                .kv_tokens = options_.kv_tokens,
                                                .allowed_context = model_->config().max_position_embeddings,
                                                .max_context = options_.max_context,
                                                .speculate = options_.speculate,
                                                .room_for_cache = options_.room_for_cache}));
  max_context_ = memory_.max_context;
  if (options_.ranks && !leads()) spec.hidden_size = 0;  // rank 0 keeps it and sends what the draft head reads
  const std::optional<int64_t> running = options_.int8_snapshots ? std::optional(options_.max_sequences) : std::nullopt;
  auto states = StatePool::create(spec, memory_.state_slots, ctx_, running);
  auto kv = KvPool::create(spec, memory_.kv_pages, ctx_);
  for (const Status& s : {states.status(), kv.status()})
    if (!s.ok())
      return {s.code(),
              std::to_string(memory_.state_slots) + " state slots and a KV cache of " +
                  std::to_string(memory_.kv_pages * KvPool::kPageTokens) + " tokens do not fit in memory: " + s.message(),
              "give fewer --state-slots or --kv-tokens"};
  use_pools(std::move(*states), std::move(*kv));
  cache_ = std::make_unique<PrefixCache>(states_, kv_);
  return {};
}

Status Engine::check(std::span<const int32_t> ids) const {
  const int64_t vocab = model_->config().vocab_size;
  if (ids.empty()) return invalid("the prompt has no tokens", "give at least one");
  if (int64_t(ids.size()) > max_context_) return too_long(ids.size());
  for (size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || ids[i] >= vocab)
      return invalid("token id " + std::to_string(ids[i]) + " at position " + std::to_string(i) + " is outside the vocabulary of " +
                     std::to_string(vocab));
  return {};
}

Status Engine::too_long(size_t tokens) const {
  return invalid("the prompt has " + std::to_string(tokens) + " tokens, the context holds " + std::to_string(max_context_),
                 "shorten it or raise --max-context");
}

Result<std::unique_ptr<Sequence>> Engine::open(std::vector<int32_t> ids) {
  SLUICE_RETURN_IF_ERROR(check(ids));
  auto s = std::make_unique<Sequence>();
  s->tokens = std::move(ids);
  SLUICE_ASSIGN_OR_RETURN(s->slot, states_.acquire());
  return s;
}

void Engine::close(Sequence& s) {
  if (s.slot >= 0) states_.release(s.slot);
  s.slot = -1;
  kv_.release(s.pages);
}

Status Engine::append(Sequence& s, int32_t id) {
  if (int64_t(s.tokens.size()) >= max_context_)
    return {Code::kResourceExhausted, "the sequence has reached the context of " + std::to_string(max_context_) + " tokens",
            "raise --max-context"};
  s.tokens.push_back(id);
  return {};
}

namespace {

Status status_of(const Status& s) { return s; }
template <class T>
Status status_of(const Result<T>& r) {
  return r.status();
}

}  // namespace

// What all ranks were told to do. An error may be this one's alone, and who waits for it in a sum waits for good.
template <class Work>
auto Engine::together(Work&& work) {
  if (!options_.ranks || !opened_) return work();
  apart_ = true;
  auto mine = work();
  const Status status = status_of(mine);
  apart_ = !status.ok();
  if (apart_)
    mine = Status(Code::kDevice, "rank " + std::to_string(options_.ranks->rank()) + ": " + status.message(), status.hint());
  return mine;
}

Result<StepOutput> Engine::step(std::span<const Work> work, const LayerObserver& observe) {
  const bool rehearsed = !cache_;  // at the start, before there are pools to serve from
  if (options_.lose_device_after > 0 && !rehearsed && ++steps_ > options_.lose_device_after)
    return Status(Code::kDevice,
                  "the device is lost: that is rehearsed after " + std::to_string(options_.lose_device_after) + " steps");
  for (const Work& w : work) {
    Sequence& s = *w.sequence;
    const int64_t end = s.computed + w.count;
    if (end > s.length() + int64_t(s.drafts.size()))
      return invalid("a step of " + std::to_string(w.count) + " tokens for a sequence that has " + std::to_string(s.pending()) +
                     " pending");
    if (w.verify && s.computed % kChunk + w.count > kChunk)
      return invalid(
          "a draft of " + std::to_string(w.count) + " tokens at position " + std::to_string(s.computed) + " crosses a chunk's end",
          "end the draft at a multiple of " + std::to_string(kChunk) + " tokens");
    SLUICE_RETURN_IF_ERROR(kv_.grow(s.pages, end));
  }
  const Padding padded = observe ? Padding::kNone : padding();
  build_batch(work, padded, batch_);
  if (leads() && opened_) SLUICE_RETURN_IF_ERROR(tell({.kind = Order::Kind::kStep, .batch = batch_}));
  ctx_.arena->reset();
  // What an observer finds is told behind the step: it may not end what other ranks compute.
  Status seen;
  const auto look = [&](int64_t layer, const Tensor& hidden) -> Status {
    if (seen.ok()) seen = observe(layer, hidden);
    return options_.ranks ? Status() : seen;
  };
  const auto stepped = together([&] { return forward_here(padded, observe ? LayerObserver(look) : LayerObserver()); });
  SLUICE_RETURN_IF_ERROR(seen);
  SLUICE_ASSIGN_OR_RETURN(const StepOutput out, stepped);
  for (const Work& w : work)
    if (!w.verify) w.sequence->computed += w.count;
  return out;
}

Result<StepOutput> Engine::forward_here(Padding padded, const LayerObserver& observe) {
  SLUICE_ASSIGN_OR_RETURN(const StepTables tables, bring_tables(ctx_, batch_));
  const auto compute = [&] { return model_->forward(ctx_, batch_, tables, pools_, observe); };
  return run(replays_, batch_, padded, compute);
}

Status Engine::accept(Sequence& s, int64_t count, const Tensor& hidden) {
  s.computed += count;
  if (count == 0 || s.computed % kChunk != 0) return {};
  const std::vector<int32_t> slots{s.slot}, lengths{int32_t(s.computed)};
  if (leads() && opened_) SLUICE_RETURN_IF_ERROR(tell({.kind = Order::Kind::kCloseChunks, .slots = slots, .lengths = lengths}));
  return together([&] { return model_->close_chunks(ctx_, slots, lengths, hidden, pools_); });
}

Result<StepOutput> Engine::draft(std::span<const DraftRows> rows, const Tensor& hidden_before) {
  for (const DraftRows& r : rows) SLUICE_RETURN_IF_ERROR(kv_.grow(r.sequence->pages, r.end));
  build_draft_batch(rows, padding(), draft_batch_);
  if (leads() && opened_) SLUICE_RETURN_IF_ERROR(tell({.kind = Order::Kind::kDraft, .batch = draft_batch_}));
  return together([&]() -> Result<StepOutput> {
    Tensor hidden = hidden_before;
    if (padding() == Padding::kToCommonShapes) {  // in a place that is the same in every replay, with room for the padding
      hidden = ctx_.arena->tensor(hidden_before.dtype, {draft_batch_.rows(), hidden_before.dim(1)});
      if (!hidden.present()) return step_does_not_fit(draft_batch_.rows());
      SLUICE_RETURN_IF_ERROR(copy_rows(ctx_, {.x = hidden_before, .out = hidden}));
    }
    return draft_here(hidden);
  });
}

// hidden is rank 0's.
Result<StepOutput> Engine::draft_here(const Tensor& hidden) {
  if (group_) SLUICE_RETURN_IF_ERROR(group_->broadcast(ctx_, hidden));
  SLUICE_ASSIGN_OR_RETURN(const StepTables tables, bring_tables(ctx_, draft_batch_));
  const auto compute = [&] { return model_->draft(ctx_, draft_batch_, tables, hidden, pools_); };
  return run(draft_replays_, draft_batch_, padding(), compute);
}

// ---- among ranks ----

// None takes its memory away while another may still read it.
Engine::~Engine() {
  if (!opened_ || !options_.ranks) return;
  if (!apart_ && leads()) apart_ = !wait().ok() || !tell({.kind = Order::Kind::kClose}).ok();
  if (apart_) group_.reset();  // it may be what the device waits for
  else (void)agree({});
}

Status Engine::tell(Order order) {
  if (apart_) return {Code::kDevice, "the ranks are no longer together", "start them anew"};
  order.copies = states_.take_copies();
  return sluice::tell(*options_.ranks, order);
}

Status Engine::follow() {
  for (;;) {
    SLUICE_ASSIGN_OR_RETURN(const Order order, hear(*options_.ranks));
    if (order.kind == Order::Kind::kClose) return {};
    SLUICE_RETURN_IF_ERROR(together([&]() -> Status {
      SLUICE_RETURN_IF_ERROR(obey(order));
      return wait();  // rank 0 may wait for a device that is lost here, and gives no further order then
    }));
  }
}

Status Engine::obey(const Order& order) {
  states_.repeat(order.copies);
  switch (order.kind) {
    case Order::Kind::kStep:
      batch_ = order.batch;
      ctx_.arena->reset();
      return forward_here(padding(), {}).status();
    case Order::Kind::kDraft: {
      draft_batch_ = order.batch;
      const Tensor before = ctx_.arena->tensor(model_->activation_dtype(), {draft_batch_.rows(), model_->config().hidden_size});
      if (!before.present()) return step_does_not_fit(draft_batch_.rows());
      return draft_here(before).status();
    }
    case Order::Kind::kCloseChunks:
      return model_->close_chunks(ctx_, order.slots, order.lengths, {}, pools_);
    default:
      return {Code::kIo, "an order out of place"};
  }
}

Result<Tensor> Engine::prefill(Sequence& s) {
  Tensor logits;
  while (s.pending() > 0) {
    const int64_t count = std::min(options_.prefill_chunk, s.pending());
    const Work work{&s, count, count == s.pending() ? WantLogits::kLast : WantLogits::kNone};
    SLUICE_ASSIGN_OR_RETURN(const StepOutput out, step({&work, 1}));
    logits = out.logits;
  }
  return logits;
}

namespace {

template <class Wanted>
Result<Tensor> rows_of(Context& ctx, const Tensor& logits, std::span<const Wanted> wanted) {
  std::vector<int32_t> rows;
  for (const Wanted& w : wanted) rows.push_back(int32_t(w.row));
  return gather_rows(ctx, logits, rows);
}

// Small tensors of four-byte elements beside one another in the arena, which one transfer brings to the host.
class Results {
 public:
  Results(Context& ctx, int64_t elements) : ctx_(ctx), all_(ctx.arena->tensor(DType::kI32, {elements})) {}
  bool present() const { return all_.present(); }
  template <class T>
  Tensor take(std::initializer_list<int64_t> dims) {
    Tensor t(all_.as<int32_t>() + taken_, DTypeOf<T>::value, dims, all_.device);
    taken_ += t.numel();
    return t;
  }
  Status fetch() {
    host_.resize(all_.bytes());
    return to_host(ctx_, all_.data, host_.size(), host_.data());
  }
  // What was fetched of one of them.
  template <class T>
  const T* of(const Tensor& t) const {
    return reinterpret_cast<const T*>(host_.data() +
                                      (static_cast<const std::byte*>(t.data) - static_cast<const std::byte*>(all_.data)));
  }

 private:
  Context& ctx_;
  Tensor all_;
  int64_t taken_ = 0;
  std::vector<std::byte> host_;
};

Status no_room(size_t rows) {
  return {Code::kResourceExhausted, "the results of " + std::to_string(rows) + " rows of logits do not fit in the workspace"};
}

}  // namespace

Status Engine::draw(const Tensor& logits, std::span<const Draw> draws, std::vector<SampledToken>& tokens) {
  const int64_t count = int64_t(draws.size());
  SLUICE_ASSIGN_OR_RETURN(const Tensor rows, rows_of(ctx_, logits, draws));
  std::vector<SamplingParams> params;
  std::vector<SampleRow> adjust;
  std::vector<int32_t> positions;
  for (const Draw& d : draws) params.push_back(*d.params), adjust.push_back(d.adjust), positions.push_back(int32_t(d.position));
  Results results(ctx_, 2 * count);
  if (!results.present()) return no_room(draws.size());
  SampleArgs args{.logits = rows,
                  .params = params,
                  .rows = adjust,
                  .ids = results.take<int32_t>({count}),
                  .logprobs = results.take<float>({count})};
  SLUICE_RETURN_IF_ERROR(bring(ctx_, {{&args.positions, Tensor::of(positions.data(), {count})}}));
  SLUICE_RETURN_IF_ERROR(sample(ctx_, args));
  SLUICE_RETURN_IF_ERROR(results.fetch());
  const int32_t* ids = results.of<int32_t>(args.ids);
  const float* logprobs = results.of<float>(args.logprobs);
  tokens.clear();
  tokens.resize(draws.size());
  std::vector<Score> scores;
  for (size_t i = 0; i < draws.size(); ++i) {
    tokens[i].id = ids[i], tokens[i].logprob = logprobs[i];
    if (draws[i].best > 0 && ids[i] >= 0) scores.push_back({draws[i].row, ids[i], draws[i].best});
  }
  if (scores.empty()) return {};
  std::vector<SampledToken> scored;
  SLUICE_RETURN_IF_ERROR(score(logits, scores, scored));
  size_t next = 0;
  for (size_t i = 0; i < draws.size(); ++i)
    if (draws[i].best > 0 && ids[i] >= 0) tokens[i].best = std::move(scored[next++].best);
  return {};
}

Status Engine::score(const Tensor& logits, std::span<const Score> scores, std::vector<SampledToken>& tokens) {
  const int64_t count = int64_t(scores.size());
  constexpr int64_t kMost = kMostTokenLogprobs;
  SLUICE_ASSIGN_OR_RETURN(const Tensor rows, rows_of(ctx_, logits, scores));
  std::vector<int32_t> ids, counts;
  for (const Score& s : scores) ids.push_back(s.id), counts.push_back(s.best);
  Results results(ctx_, count * (2 + 2 * kMost));
  if (!results.present()) return no_room(scores.size());
  TokenLogprobsArgs args{.logits = rows,
                         .logprobs = results.take<float>({count}),
                         .ranks = results.take<int32_t>({count}),
                         .best_ids = results.take<int32_t>({count, kMost}),
                         .best_logprobs = results.take<float>({count, kMost})};
  SLUICE_RETURN_IF_ERROR(
      bring(ctx_, {{&args.ids, Tensor::of(ids.data(), {count})}, {&args.counts, Tensor::of(counts.data(), {count})}}));
  SLUICE_RETURN_IF_ERROR(token_logprobs(ctx_, args));
  SLUICE_RETURN_IF_ERROR(results.fetch());
  const float *logprobs = results.of<float>(args.logprobs), *best = results.of<float>(args.best_logprobs);
  const int32_t* best_ids = results.of<int32_t>(args.best_ids);
  tokens.clear();
  for (size_t i = 0; i < scores.size(); ++i) {
    SampledToken& t = tokens.emplace_back();
    t.id = ids[i], t.logprob = logprobs[i];
    for (size_t j = i * kMost; j < i * kMost + size_t(counts[i]) && best_ids[j] >= 0; ++j) t.best.push_back({best_ids[j], best[j]});
  }
  return {};
}

Status Engine::check_finite(int64_t layer, const Tensor& hidden, int64_t position) const {
  const auto row = first_row_not_finite(hidden);
  return row ? not_finite("values are not finite after " + layer_name(model_->config(), layer) + ", first at position " +
                          std::to_string(position + *row))
             : Status();
}

Status not_finite(const std::string& what) {
  return {Code::kModelError, "the model's " + what, "the checkpoint is damaged or overflows in this dtype; try --dtype fp32"};
}

}  // namespace sluice
