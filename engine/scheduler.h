// Continuous batching: which sequences compute which tokens in each step, and in whose memory.
//
// A step serves every running sequence: one row for each that decodes (more with drafts), and prompt pieces up to the prefill
// budget, oldest first. A request is admitted when a slot and pages for all its tokens are there or can be had from the prefix
// cache; until then it waits, and none overtakes it but for a higher priority. When pages run out in decoding, the cache gives
// way, then the youngest request: it waits again, keeps its tokens, and goes on as if nothing had been, since a step's bits do
// not depend on how a sequence is cut (docs/architecture.md, "The open chunk").
//
// A prefix that a running request is about to compute is not computed twice: who begins alike and comes later keeps its place and
// its slot, and starts when the snapshot is there, or when nobody is left who will make it.
//
// Not thread safe: submit(), cancel() and step() are of one thread. engine/loop.h puts a thread around it.
#pragma once

#include <array>
#include <list>
#include <memory>
#include <vector>

#include "engine/answer_text.h"
#include "engine/engine.h"
#include "engine/request.h"
#include "engine/speculator.h"

namespace sluice {

// Rows of a step whose logits are wanted though nothing is drawn from them: of a vocabulary of 248,320 they take half a gigabyte.
inline constexpr int64_t kMostScoredRows = 512;

using RequestId = uint64_t;

// What a step does, one after the other: admission and plan; the model; sampling and log-probabilities; the draft head; snapshots
// and what goes out, up to what the outboxes' consumers do on this thread.
enum class StepPart : unsigned char { kPlan, kForward, kSample, kDraft, kDeliver };
inline constexpr std::array<const char*, 5> kStepPartNames{"plan", "forward", "sample", "draft", "deliver"};

// Whether an engine can ever serve a request: ids in the vocabulary, room for the prompt and one token, sampling and
// log-probabilities in their ranges.
Status check_request(const Engine& engine, const Request& request);

class Scheduler {
 public:
  explicit Scheduler(Engine& engine) : engine_(engine), speculator_(engine) {}
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Queues it under an id that no other request has; everything further comes through the outbox, an error of check_request() too.
  // None of these throws: a request for which there is no memory ends with an error, and a step takes all that run with it.
  void submit(RequestId id, Request request, std::shared_ptr<Outbox> outbox);
  // Ends a request before the next step, with finish kCancelled; closing its outbox does the same. No effect on one that has ended.
  void cancel(RequestId id);
  void cancel_all();

  bool idle() const { return waiting_.empty() && running_.empty(); }
  // One forward for all that can go on. An error is the engine's, not a request's: all running requests have been given it, and
  // with kDevice all that wait or come later.
  Status step();

  // Called when the device is lost, before any request is told.
  void on_lost(std::function<void(const Status&)> f) { on_lost_ = std::move(f); }
  // For tests: sees each request's sequence before its memory is given back.
  void on_release(std::function<void(RequestId, const Sequence&)> f) { on_release_ = std::move(f); }

  struct Stats {
    int64_t running = 0, waiting = 0, waiting_tokens = 0;  // requests now, and the tokens of those that wait
    int64_t steps = 0, prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0, drafted = 0, accepted = 0, preemptions = 0;
    int64_t finished = 0, cancelled = 0, failed = 0;
    int64_t followed = 0;    // requests that went on from a prefix that another one was computing when they were admitted
    int64_t not_finite = 0;  // of the failed: the model's logits were not finite
    std::array<double, kStepPartNames.size()> seconds{};  // of steps, by StepPart
  };
  Stats stats() const;

 private:
  struct Active {
    RequestId id = 0;
    Request request;
    std::shared_ptr<Outbox> outbox;
    Sequence sequence;
    std::optional<SamplingState> sampling;
    std::optional<AnswerText> text;
    int64_t produced = 0;
    int64_t scored = 1;         // prompt tokens below it have their log-probability, if wanted
    int64_t started_at = -1;    // tokens that it had not to compute when it started; -1: it has not, and computes nothing
    std::vector<int64_t> cuts;  // ascending positions, multiples of 64, where the prompt's computing pauses for a snapshot
    Usage usage;
    Event event;  // of this step
    bool cancelled = false;
    bool explaining = false;  // its logits were not finite: computed again, for an error that names the layer

    bool decoding() const { return produced > 0 && sequence.pending() == 1 && !explaining; }
    // Whether log-probabilities of the prompt are still wanted: each of its tokens must be computed.
    bool scoring() const { return request.prompt_logprobs >= 0 && scored < int64_t(request.prompt.size()); }
    bool started() const { return started_at >= 0; }
    bool shares() const { return request.use_cache && !scoring(); }
    void cut_at(int64_t position);
  };
  // A piece of the step in hand: rows [first_row, first_row + work.count) of it, logits from first_logit on, and tokens drawn from
  // the last `draws` of these.
  struct Piece {
    Active* active = nullptr;
    Work work;
    int64_t draws = 0;
    bool prefill = false;
    int64_t start = 0, first_row = 0, first_logit = 0, first_draw = 0;
    int64_t logits() const { return work.logits == WantLogits::kAll ? work.count : work.logits == WantLogits::kLast ? 1 : 0; }
  };
  using ActiveList = std::list<std::unique_ptr<Active>>;

  // Where two requests are alike up to, if `older` has yet to leave a snapshot there and `a` has none; else 0.
  static int64_t common_ahead(const Active& a, const Active& older);

  void enqueue(RequestId id, Request request, std::shared_ptr<Outbox> outbox);
  void drop_cancelled();
  void admit();
  bool admit_one(Active& a);
  PrefixCache::Match find(const Active& a);
  void start_running();
  void start(Active& a);
  void choose_cuts(Active& a, int64_t common);
  void plan();
  void plan_decode(Active& a);
  int64_t plan_prefill(Active& a, int64_t budget, int64_t scored);
  // Pages for every piece of the plan; gives up cached pages, then whole requests. False: the plan must be made anew.
  bool make_room();
  void preempt(ActiveList::iterator victim);
  // Gives back what it occupies and lets it wait, ahead of the others of its priority.
  void wait_again(ActiveList::iterator request);

  // Counts the time since the last call, or since the step's begin.
  void spent(StepPart part);

  Status compute();
  Status commit(const StepOutput& out);
  Status draft(const StepOutput& out);
  Status draw(const StepOutput& out);
  Status score_prompts(const StepOutput& out);
  Status commit_piece(const Piece& piece, const StepOutput& out);
  void take_token(Active& a, const SampledToken& token);
  void keep_snapshots();
  void keep_snapshot(Active& a, int64_t length);
  bool room_for_snapshot();
  bool freeze(Active& a);
  void explain_all();
  LayerObserver watch();
  void finish_all();
  void finish(Active& a);
  void write_end(Active& a);
  void break_off(Active& a);
  void release(Active& a, bool keep);
  template <class Requests>
  void fail(Requests& all, const Status& error);
  void send(Active& a);

  Engine& engine_;
  Speculator speculator_;
  std::function<void(const Status&)> on_lost_;
  std::function<void(RequestId, const Sequence&)> on_release_;
  ActiveList waiting_;  // by priority, then age
  ActiveList running_;  // by age
  std::vector<Piece> plan_;
  std::vector<Work> work_;
  std::vector<SampledToken> drawn_;
  SampleRowStorage storage_;
  Stats stats_;
  double counted_until_ = 0;  // of the step in hand
  Status lost_;               // the error by which the device went
};

// The whole answer to one request, by steps on this thread.
struct Answer {
  std::vector<SampledToken> tokens;
  std::string text;
  FinishReason finish = FinishReason::kNone;
  Usage usage;
};
Result<Answer> answer(Scheduler& scheduler, Request request, const std::function<void(const Event&)>& on_event = {});

std::vector<int32_t> ids_of(std::span<const SampledToken> tokens);

}  // namespace sluice
