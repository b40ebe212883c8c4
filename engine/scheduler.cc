#include "engine/scheduler.h"

#include <algorithm>

#include "base/checked.h"
#include "base/clock.h"
#include "base/out_of_memory.h"
#include "ops/token_logprobs/token_logprobs.h"

namespace sluice {
namespace {

constexpr int64_t kPage = KvPool::kPageTokens;

int64_t whole_pages(int64_t tokens) { return tokens / kPage * kPage; }

// Prompts longer than this leave snapshots at 512, 1024, 2048, ... tokens: whatever request shares only a beginning of it finds at
// least half of that.
constexpr int64_t kFirstSpacedSnapshot = 512;

// Of one prompt in a step, so that others come to it too.
constexpr int64_t kScoredRows = 64;

Status check_range(const char* name, int value, int low, int high) {
  if (value >= low && value <= high) return {};
  return invalid(std::string(name) + " is " + std::to_string(value) + ", wanted " + std::to_string(low) + " to " +
                 std::to_string(high));
}

}  // namespace

Scheduler::~Scheduler() {
  for (auto& a : running_) release(*a, false);
}

Status check_request(const Engine& engine, const Request& r) {
  if (r.max_tokens > 0 && int64_t(r.prompt.size()) == engine.max_context()) return engine.too_long(r.prompt.size());
  SLUICE_RETURN_IF_ERROR(engine.check(r.prompt));
  SLUICE_RETURN_IF_ERROR(check_range("top_logprobs", r.top_logprobs, 0, kMostTokenLogprobs));
  SLUICE_RETURN_IF_ERROR(check_range("prompt_logprobs", r.prompt_logprobs, -1, kMostTokenLogprobs));
  return r.sampling.check(engine.model().config().vocab_size);
}

void Scheduler::submit(RequestId id, Request request, std::shared_ptr<Outbox> outbox) {
  try {
    enqueue(id, std::move(request), outbox);
  } catch (const std::bad_alloc&) {
    ++stats_.failed;
    outbox->break_off();
  }
}

void Scheduler::enqueue(RequestId id, Request request, std::shared_ptr<Outbox> outbox) {
  auto a = std::make_unique<Active>();
  a->id = id;
  a->outbox = std::move(outbox);
  a->usage.prompt_tokens = int64_t(request.prompt.size());
  a->usage.submitted = request.submitted > 0 ? request.submitted : now_seconds();
  if (const Status s = lost_.ok() ? check_request(engine_, request) : lost_; !s.ok()) {
    ++stats_.failed;
    a->event.finish = FinishReason::kError, a->event.error = s;
    return send(*a);
  }
  a->sampling.emplace(request.sampling, engine_.model().config().vocab_size, request.prompt);
  if (request.tokenizer) a->text.emplace(*request.tokenizer, request.stop_strings, request.skip_special, request.include_stop);
  a->sequence.tokens = request.prompt;
  a->request = std::move(request);
  const auto before = std::ranges::find_if(waiting_, [&](const auto& w) { return w->request.priority < a->request.priority; });
  waiting_.insert(before, std::move(a));
}

void Scheduler::cancel(RequestId id) {
  for (auto& a : running_)
    if (a->id == id) a->cancelled = true;
  for (auto& a : waiting_)
    if (a->id == id) a->cancelled = true;
}

void Scheduler::cancel_all() {
  for (auto& a : running_) a->cancelled = true;
  for (auto& a : waiting_) a->cancelled = true;
  drop_cancelled();
}

Scheduler::Stats Scheduler::stats() const {
  Stats s = stats_;
  s.running = int64_t(running_.size()), s.waiting = int64_t(waiting_.size());
  for (const auto& a : waiting_) s.waiting_tokens += a->sequence.length();
  return s;
}

void Scheduler::spent(StepPart part) {
  const double now = now_seconds();
  stats_.seconds[size_t(part)] += now - std::exchange(counted_until_, now);
}

Status Scheduler::step() {
  counted_until_ = now_seconds();
  drop_cancelled();
  admit();
  if (running_.empty()) return {};
  try {
    if (const Status done = compute(); !done.ok()) {
      const bool lost = done.code() == Code::kDevice;
      if (lost) {
        lost_ = done;
        if (on_lost_) on_lost_(done);
      }
      fail(running_, done);
      if (lost) fail(waiting_, done);
      return done;
    }
  } catch (const std::bad_alloc&) {  // nobody knows how far the step came
    for (auto& a : running_) break_off(*a);
    running_.clear();
    return out_of_memory();
  }
  if (plan_.empty()) return {};
  ++stats_.steps;
  keep_snapshots();
  explain_all();
  finish_all();
  for (auto& a : running_) send(*a);
  spent(StepPart::kDeliver);
  return {};
}

Status Scheduler::compute() {
  do plan();
  while (!make_room());
  if (plan_.empty()) return {};
  work_.clear();
  for (const Piece& p : plan_) work_.push_back(p.work);
  spent(StepPart::kPlan);
  const auto out = engine_.step(work_, watch());
  spent(StepPart::kForward);
  return out.ok() ? commit(*out) : out.status();
}

void Scheduler::drop_cancelled() {
  const auto dropped = [&](const auto& a) {
    if (!a->cancelled && !a->outbox->closed()) return false;
    a->event.finish = FinishReason::kCancelled;
    ++stats_.cancelled;
    finish(*a);
    return true;
  };
  std::erase_if(waiting_, dropped);
  std::erase_if(running_, dropped);
}

// ---- admission ----

void Scheduler::admit() {
  while (!waiting_.empty() && int64_t(running_.size()) < engine_.options().max_sequences) {
    Active& a = *waiting_.front();
    try {
      if (!admit_one(a)) return;
      running_.splice(running_.end(), waiting_, waiting_.begin());
    } catch (const std::bad_alloc&) {
      break_off(a);
      waiting_.pop_front();
    }
  }
}

PrefixCache::Match Scheduler::find(const Active& a) {
  if (!a.shares()) return {};
  return engine_.cache().find(a.request.cache_salt, a.sequence.tokens, a.sequence.length() - 1);
}
namespace {

// A hit of the prefix cache in hand, so that what is evicted for its request is not what the request goes on from.
class HeldMatch {
 public:
  HeldMatch(StatePool& states, KvPool& kv, PrefixCache::Match match) : states_(states), kv_(kv), match_(std::move(match)) {
    if (match_.snapshot >= 0) states_.retain(match_.snapshot);
    for (const int32_t page : match_.pages) kv_.retain(page);
  }
  ~HeldMatch() { drop(); }
  HeldMatch(const HeldMatch&) = delete;
  HeldMatch& operator=(const HeldMatch&) = delete;

  const PrefixCache::Match* operator->() const { return &match_; }
  // Becomes a match of nothing.
  void drop() {
    if (match_.snapshot >= 0) states_.release_snapshot(match_.snapshot);
    kv_.release(match_.pages);
    match_ = {.common = match_.common};
  }
  std::vector<int32_t> take_pages() { return std::exchange(match_.pages, {}); }
  const PrefixCache::Match& get() const { return match_; }

 private:
  StatePool& states_;
  KvPool& kv_;
  PrefixCache::Match match_;
};

}  // namespace

// A slot and pages for all tokens so far and one more, beside a page that each running request may need next.
bool Scheduler::admit_one(Active& a) {
  StatePool& states = engine_.states();
  KvPool& kv = engine_.kv();
  PrefixCache& cache = engine_.cache();
  Sequence& s = a.sequence;
  HeldMatch match(states, kv, find(a));
  const int64_t margin = running_.empty() ? 0 : int64_t(running_.size());
  const int64_t pages = std::min(ceil_div(s.length() + 1 + engine_.options().speculate, kPage), kv.pages());
  const int64_t needed = pages - int64_t(match->pages.size()) + margin;
  if (kv.free_pages() < needed && kv.free_pages() + cache.evictable_pages() < needed) return false;
  while (kv.free_pages() < needed)
    if (!cache.evict_page()) return false;
  while (states.free_slots() == 0 && !states.int8_snapshots())
    if (!cache.evict_snapshot()) break;
  auto slot = match->snapshot >= 0 ? states.resume(match->snapshot) : states.acquire();
  if (!slot.ok() && match->snapshot >= 0) {  // the hit is in the only slot that is left: a cold start takes its place
    match.drop();
    slot = states.acquire();
  }
  if (!slot.ok()) return false;
  s.slot = *slot;
  s.pages = match.take_pages();
  s.computed = match->length;
  if (a.usage.admitted == 0) a.usage.admitted = now_seconds();
  return true;
}

// ---- a beginning in common ----

int64_t Scheduler::common_ahead(const Active& a, const Active& older) {
  if (!older.request.use_cache || older.decoding() || older.request.cache_salt != a.request.cache_salt) return 0;
  const auto& tokens = a.sequence.tokens;
  const int64_t alike = std::ranges::mismatch(tokens, older.sequence.tokens).in1 - tokens.begin();
  const int64_t common = whole_pages(std::min(alike, a.sequence.length() - 1));
  const bool at_its_end = common == whole_pages(older.sequence.length());  // the snapshot comes when the prompt is done
  const bool ahead = common > older.started_at && (at_its_end || common > older.sequence.computed);
  return ahead && common > a.sequence.computed ? common : 0;
}

// One waits for older ones only, so never in a circle, and as prompts are computed by age it hardly waits for what it would not
// have waited for alone. Whatever becomes of the older one, the wait ends with it.
void Scheduler::start_running() {
  for (auto a = running_.begin(); a != running_.end(); ++a) {
    if ((*a)->started()) continue;
    Active* leader = nullptr;
    int64_t most = 0;
    for (auto older = running_.begin(); (*a)->shares() && older != a; ++older)
      if (const int64_t common = common_ahead(**a, **older); common > most) leader = older->get(), most = common;
    if (leader) leader->cut_at(most);
    else start(**a);
  }
}

// Goes on from what is there now, which may be more than at its admission.
void Scheduler::start(Active& a) {
  StatePool& states = engine_.states();
  Sequence& s = a.sequence;
  PrefixCache::Match match = find(a);
  if (match.length > s.computed) {
    for (const int32_t page : match.pages) engine_.kv().retain(page);
    engine_.kv().release(s.pages);
    states.release(s.slot);
    s.slot = states.resume(match.snapshot).value();  // there is one free
    s.pages = std::move(match.pages);
    s.computed = match.length;
    ++stats_.followed;
  }
  s.drafted = std::max<int64_t>(1, s.computed);
  a.started_at = s.computed;
  if (a.request.use_cache) engine_.cache().count(s.computed, s.length());
  if (a.produced == 0) a.usage.cached_tokens = s.computed;
  stats_.cached_tokens += s.computed;
  choose_cuts(a, match.common);
}

// Where the prompt's computing pauses: where a request before went on differently, at the boundaries that the caller named, and
// spaced by powers of two.
void Scheduler::choose_cuts(Active& a, int64_t common) {
  a.cuts.clear();
  if (!a.request.use_cache) return;
  a.cut_at(common);
  for (const int64_t b : a.request.boundaries) a.cut_at(b);
  for (int64_t p = kFirstSpacedSnapshot; p < a.sequence.length(); p *= 2) a.cut_at(p);
}

// At the last multiple of 64 before it that is still ahead. The last of all needs no pause, see keep_snapshots().
void Scheduler::Active::cut_at(int64_t position) {
  position = whole_pages(position);
  if (position <= sequence.computed || position >= whole_pages(sequence.length())) return;
  const auto at = std::ranges::lower_bound(cuts, position);
  if (at == cuts.end() || *at != position) cuts.insert(at, position);
}

// ---- the step's plan ----

void Scheduler::plan() {
  start_running();
  plan_.clear();
  int64_t budget = engine_.options().prefill_chunk, scored = kMostScoredRows;
  for (auto& a : running_) {
    if (!a->started()) continue;
    if (a->decoding()) {
      plan_decode(*a);
      continue;
    }
    const int64_t rows = plan_prefill(*a, budget, scored);
    budget -= rows;
    if (a->scoring()) scored -= rows;
  }
  // What is verified comes first, what decodes before what reads a prompt.
  std::ranges::stable_sort(plan_, {}, [](const Piece& p) { return p.work.verify ? 0 : p.work.count == 1 ? 1 : 2; });
  int64_t row = 0, logit = 0, draw = 0;
  for (Piece& p : plan_) {
    p.start = p.active->sequence.computed, p.first_row = row, p.first_logit = logit, p.first_draw = draw;
    row += p.work.count, logit += p.logits(), draw += p.draws;
  }
}

// The last token, and drafts as far as the chunk and the answer go.
void Scheduler::plan_decode(Active& a) {
  Sequence& s = a.sequence;
  const int64_t to_chunk_end = kChunk - s.computed % kChunk;
  const int64_t left = std::min(a.request.max_tokens - a.produced, engine_.max_context() - s.length()) - 1;
  const int64_t drafts = std::max<int64_t>(0, std::min({int64_t(s.drafts.size()), to_chunk_end - 1, left}));
  s.drafts.resize(size_t(drafts));
  const Work work{&s, 1 + drafts, drafts > 0 ? WantLogits::kAll : WantLogits::kLast, drafts > 0};
  plan_.push_back({.active = &a, .work = work, .draws = 1 + drafts});
}

// As much of the prompt as the budget and the next cut allow; all but the last piece end at a multiple of 64 if they reach one.
int64_t Scheduler::plan_prefill(Active& a, int64_t budget, int64_t scored) {
  Sequence& s = a.sequence;
  while (!a.cuts.empty() && a.cuts.front() <= s.computed) a.cuts.erase(a.cuts.begin());
  int64_t end = std::min(s.length(), s.computed + budget);
  if (!a.cuts.empty()) end = std::min(end, a.cuts.front());
  if (a.scoring()) end = std::min(end, s.computed + std::min(kScoredRows, scored));
  if (end < s.length() && whole_pages(end) > s.computed) end = whole_pages(end);
  const int64_t count = end - s.computed;
  if (count <= 0) return 0;
  const bool draws = end == s.length() && a.request.max_tokens > 0 && !a.explaining;
  const WantLogits logits = a.scoring() ? WantLogits::kAll : draws ? WantLogits::kLast : WantLogits::kNone;
  plan_.push_back({.active = &a, .work = {&s, count, logits}, .draws = draws, .prefill = true});
  return count;
}

bool Scheduler::make_room() {
  const int64_t ahead = engine_.options().speculate;
  for (const Piece& p : plan_) {
    Sequence& s = p.active->sequence;
    // With drafting, the head reads one token more than the step computes, and then each guess; none where the context ends.
    const int64_t tokens = std::min(s.computed + p.work.count + (ahead > 0 ? 1 + ahead : 0), engine_.kv().pages() * kPage);
    while (!engine_.kv().grow(s.pages, tokens).ok()) {
      if (engine_.cache().evict_page()) continue;
      // The youngest of the lowest priority. A single sequence always fits, so somebody else is there, or it is this one.
      auto victim = running_.begin();
      for (auto it = running_.begin(); it != running_.end(); ++it)
        if ((*it)->request.priority <= (*victim)->request.priority) victim = it;
      preempt(victim);
      return false;
    }
  }
  return true;
}

void Scheduler::preempt(ActiveList::iterator victim) {
  ++(*victim)->usage.preemptions, ++stats_.preemptions;
  wait_again(victim);
}

void Scheduler::wait_again(ActiveList::iterator request) {
  Active& a = **request;
  release(a, false);
  const auto before = std::ranges::find_if(waiting_, [&](const auto& w) { return w->request.priority <= a.request.priority; });
  waiting_.splice(before, running_, request);
}

// ---- what a step gave ----

Status Scheduler::commit(const StepOutput& out) {
  SLUICE_RETURN_IF_ERROR(draw(out));
  SLUICE_RETURN_IF_ERROR(score_prompts(out));
  spent(StepPart::kSample);
  for (const Piece& p : plan_) SLUICE_RETURN_IF_ERROR(commit_piece(p, out));
  spent(StepPart::kDeliver);
  if (!engine_.drafting()) return {};
  const Status drafted = draft(out);
  spent(StepPart::kDraft);
  return drafted;
}

Status Scheduler::draft(const StepOutput& out) {
  std::vector<Drafting> drafting;
  for (const Piece& p : plan_) {
    Active& a = *p.active;
    const int64_t most =
        a.request.speculate < 0 ? engine_.options().speculate : std::min(a.request.speculate, engine_.options().speculate);
    const bool goes_on = a.decoding() && a.event.finish == FinishReason::kNone;
    if (a.event.finish != FinishReason::kError && !a.explaining)
      drafting.push_back({&a.sequence, &*a.sampling, p.first_row, p.start, goes_on ? most : 0});
  }
  return speculator_.draft(drafting, out);
}

Status Scheduler::draw(const StepOutput& out) {
  std::vector<Draw> draws;
  storage_.clear();
  for (const Piece& p : plan_) {
    const Active& a = *p.active;
    const int64_t first = p.start + p.work.count - p.draws + 1;  // position of the first token that is drawn
    for (int64_t i = 0; i < p.draws; ++i)
      draws.push_back({.row = p.first_logit + p.logits() - p.draws + i,
                       .position = first + i,
                       .params = &a.sampling->params(),
                       .adjust = a.sampling->row(std::span(a.sequence.drafts).first(size_t(i)), storage_),
                       .best = a.request.top_logprobs});
  }
  drawn_.clear();
  return draws.empty() ? Status() : engine_.draw(out.logits, draws, drawn_);
}

// The row of position p speaks of the token at p + 1.
Status Scheduler::score_prompts(const StepOutput& out) {
  for (const Piece& p : plan_) {
    Active& a = *p.active;
    if (p.work.logits != WantLogits::kAll || p.work.verify) continue;
    std::vector<Score> scores;
    const int64_t end = std::min(p.start + p.work.count + 1, int64_t(a.request.prompt.size()));
    for (int64_t at = std::max(a.scored, p.start + 1); at < end; ++at)
      scores.push_back({p.first_logit + at - 1 - p.start, a.request.prompt[size_t(at)], a.request.prompt_logprobs});
    if (scores.empty()) continue;
    SLUICE_RETURN_IF_ERROR(engine_.score(out.logits, scores, a.event.prompt_logprobs));
    a.scored = end;
  }
  return {};
}

Status Scheduler::commit_piece(const Piece& p, const StepOutput& out) {
  Active& a = *p.active;
  Sequence& s = a.sequence;
  if (p.prefill) stats_.prompt_tokens += p.work.count, a.event.prompt_done = s.computed;
  if (a.explaining) {
    if (s.pending() == 0 && a.event.error.ok()) a.event.error = not_finite("logits are not finite");
    if (!a.event.error.ok()) a.event.finish = FinishReason::kError;
    return {};
  }
  if (p.draws == 0) {
    if (s.pending() == 0 && a.request.max_tokens == 0) a.event.finish = FinishReason::kLength;
    return {};
  }
  const std::vector<int32_t> drafts = std::exchange(s.drafts, {});
  const SampledToken* drawn = &drawn_[size_t(p.first_draw)];
  int64_t kept = 0;
  for (; kept < p.draws; ++kept) {
    take_token(a, drawn[kept]);
    const bool came_true = kept < int64_t(drafts.size()) && drafts[size_t(kept)] == drawn[kept].id;
    if (a.event.finish != FinishReason::kNone || !came_true) break;
  }
  if (p.work.verify) {
    kept = std::min(kept + 1, p.work.count);
    a.usage.drafted += int64_t(drafts.size()), a.usage.accepted += kept - 1;
    stats_.drafted += int64_t(drafts.size()), stats_.accepted += kept - 1;
    const int64_t last = p.first_row + kept - 1;
    SLUICE_RETURN_IF_ERROR(engine_.accept(s, kept, out.hidden.slice(0, last, last + 1)));
  }
  return {};
}

void Scheduler::take_token(Active& a, const SampledToken& token) {
  Sequence& s = a.sequence;
  Event& e = a.event;
  if (token.id < 0) {
    e.finish = FinishReason::kError;
    if (token.id == kSampleNothingLeft)
      e.error = invalid("no token is left to draw at position " + std::to_string(s.length()) + ": all are banned or not allowed",
                        "allow at least one");
    return;
  }
  a.sampling->add(token.id);
  ++a.produced, ++a.usage.completion_tokens, ++stats_.generated_tokens;
  e.tokens.push_back(token);
  s.tokens.push_back(token.id);
  const bool stop_id = std::ranges::count(a.request.sampling.stop_ids, token.id) > 0;
  if (a.text && (!stop_id || a.request.include_stop)) e.text += a.text->push(token.id);
  const bool full = s.length() >= engine_.max_context();
  if (stop_id || (a.text && a.text->stopped())) e.finish = FinishReason::kStop;
  else if (a.produced >= a.request.max_tokens || full) e.finish = FinishReason::kLength;
}

// ---- what was not finite ----

// Requests whose logits were not finite begin again, among the others and within the step's budget; their tokens so far go out.
void Scheduler::explain_all() {
  for (auto it = running_.begin(); it != running_.end();) {
    const auto at = it++;
    Active& a = **at;
    if (a.event.finish != FinishReason::kError || !a.event.error.ok()) continue;
    ++stats_.not_finite;
    a.explaining = true;
    a.request.use_cache = false;
    a.event.finish = FinishReason::kNone;
    send(a);
    wait_again(at);
  }
}

LayerObserver Scheduler::watch() {
  if (std::ranges::none_of(plan_, [](const Piece& p) { return p.active->explaining; })) return {};
  return [this](int64_t layer, const Tensor& hidden) -> Status {
    for (const Piece& p : plan_) {
      Active& a = *p.active;
      if (a.explaining && a.event.error.ok())
        a.event.error = engine_.check_finite(layer, hidden.slice(0, p.first_row, p.first_row + p.work.count), p.start);
    }
    return {};
  };
}

// ---- snapshots and the end ----

// A snapshot is of the last closed chunk, so at the prompt's end (of all tokens so far, after a preemption) it is there for the
// taking, and at a cut the sequence stands on it.
void Scheduler::keep_snapshots() {
  for (const Piece& p : plan_) {
    Active& a = *p.active;
    const Sequence& s = a.sequence;
    if (!a.request.use_cache || a.event.finish != FinishReason::kNone || p.work.verify) continue;
    const bool prompt_ended = p.prefill && p.draws > 0;
    const bool at_cut = !a.cuts.empty() && a.cuts.front() == s.computed;
    if (prompt_ended || at_cut) keep_snapshot(a, whole_pages(s.computed));
  }
}

void Scheduler::keep_snapshot(Active& a, int64_t length) {
  PrefixCache& cache = engine_.cache();
  const auto path = std::span<const int32_t>(a.sequence.tokens).first(size_t(length));
  if (length == 0 || cache.has(a.request.cache_salt, path)) return;
  if (!room_for_snapshot()) return;
  if (const auto snapshot = engine_.states().snapshot(a.sequence.slot); snapshot.ok())
    cache.insert(a.request.cache_salt, path, a.sequence.pages, *snapshot);
}

// A place for one more, of those that are worth less if need be.
bool Scheduler::room_for_snapshot() {
  while (engine_.states().free_snapshots() == 0)
    if (!engine_.cache().evict_snapshot()) return false;
  return true;
}

void Scheduler::finish_all() {
  std::erase_if(running_, [&](const auto& a) {
    if (a->event.finish == FinishReason::kNone) return false;
    finish(*a);
    return true;
  });
}

void Scheduler::finish(Active& a) {
  try {
    write_end(a);
  } catch (const std::bad_alloc&) {
    return break_off(a);
  }
  const bool failed = a.event.finish == FinishReason::kError;
  ++(failed ? stats_.failed : stats_.finished);
  release(a, !failed);
  send(a);
}

// What the last event says beside its tokens.
void Scheduler::write_end(Active& a) {
  Event& e = a.event;
  if (e.finish == FinishReason::kError) return;
  if (a.text && !a.text->stopped()) e.text += a.text->finish();
  if (a.text && a.text->stopped() && e.finish != FinishReason::kCancelled) e.finish = FinishReason::kStop;
  if (a.text && a.text->stopped() && e.finish == FinishReason::kStop) e.stop_string = a.text->stop_string();
}

// The end for lack of memory; takes none.
void Scheduler::break_off(Active& a) {
  ++stats_.failed;
  release(a, false);
  a.outbox->break_off();
}

// Its slot becomes a snapshot in the prefix cache. False where there is nothing to keep or no place, and it has its slot still.
bool Scheduler::freeze(Active& a) {
  StatePool& states = engine_.states();
  PrefixCache& cache = engine_.cache();
  const Sequence& s = a.sequence;
  const int64_t length = whole_pages(s.computed);
  const auto path = std::span<const int32_t>(s.tokens).first(size_t(length));
  if (!a.request.use_cache || length == 0 || cache.has(a.request.cache_salt, path)) return false;
  if (states.int8_snapshots() && !room_for_snapshot()) return false;
  const auto snapshot = states.freeze(s.slot);
  if (snapshot.ok()) cache.insert(a.request.cache_salt, path, s.pages, *snapshot);
  return snapshot.ok();
}

// Gives back what a request occupies; takes no memory that it cannot do without. keep: what it has computed goes to the prefix
// cache, its slot as the snapshot.
void Scheduler::release(Active& a, bool keep) {
  Sequence& s = a.sequence;
  if (on_release_ && keep) on_release_(a.id, s);
  if (s.slot >= 0 && !(keep && freeze(a))) engine_.states().release(s.slot);
  a.started_at = -1;
  s.slot = -1;
  s.drafts.clear();
  s.computed = 0, s.drafted = 1;
  engine_.kv().release(s.pages);
}

template <class Requests>
void Scheduler::fail(Requests& all, const Status& error) {
  for (auto& a : all) {
    a->event.finish = FinishReason::kError, a->event.error = error;
    finish(*a);
  }
  all.clear();
}

void Scheduler::send(Active& a) {
  Event& e = a.event;
  e.usage = a.usage;
  if (e.finish != FinishReason::kNone || !e.tokens.empty() || !e.text.empty() || !e.prompt_logprobs.empty() || e.prompt_done > 0)
    a.outbox->push(std::move(e));
  e = {};
}

Result<Answer> answer(Scheduler& scheduler, Request request, const std::function<void(const Event&)>& on_event) {
  const auto outbox = std::make_shared<Outbox>();
  scheduler.submit(1, std::move(request), outbox);
  Answer a;
  for (;;) {
    const Status stepped = scheduler.step();
    while (const auto e = outbox->pop()) {
      a.tokens.insert(a.tokens.end(), e->tokens.begin(), e->tokens.end());
      a.text += e->text;
      if (on_event) on_event(*e);
      if (e->finish == FinishReason::kError) return e->error;
      if (e->finish == FinishReason::kNone) continue;
      a.finish = e->finish, a.usage = e->usage;
      return a;
    }
    SLUICE_RETURN_IF_ERROR(stepped);
  }
}

std::vector<int32_t> ids_of(std::span<const SampledToken> tokens) {
  std::vector<int32_t> ids;
  for (const SampledToken& t : tokens) ids.push_back(t.id);
  return ids;
}

}  // namespace sluice
