// sluice run: one answer, or a chat.
#include <fmt/core.h>

#include <boost/json.hpp>
#include <iostream>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/ranks.h"
#include "cli/read_text.h"

namespace sluice::cli {
namespace {

struct RunOptions {
  ModelOptions model;
  std::optional<std::string> prompt;
  std::string prompt_file, ids, system;
  bool raw = false, json = false, parse_special = false, stats = false;
  int64_t max_tokens = 512;
  std::optional<float> temperature, top_p, min_p;
  std::optional<int> top_k;
  uint64_t seed = 0;
};

struct Timed {
  Answer answer;
  double prefill_s = 0, decode_s = 0;
};

// Flags go before generation_config.json, which goes before greedy.
SamplingParams sampling_params(const RunOptions& o, const GenerationConfig& g) {
  SamplingParams p;
  if (g.do_sample)
    p = {.temperature = float(g.temperature), .top_k = int(g.top_k), .top_p = float(g.top_p), .min_p = float(g.min_p)};
  if (o.temperature) p.temperature = *o.temperature;
  if (o.top_k) p.top_k = *o.top_k;
  if (o.top_p) p.top_p = *o.top_p;
  if (o.min_p) p.min_p = *o.min_p;
  p.seed = o.seed;
  return p;
}

// Streams the answer to stdout as it comes, unless `quiet`.
Result<Timed> stream(Scheduler& scheduler, Request request, bool quiet) {
  const int64_t total = int64_t(request.prompt.size());
  const bool text = request.tokenizer != nullptr;
  Progress progress("reading the prompt");
  const double begin = now_seconds();
  double first = 0;
  int64_t printed = 0;
  auto a = answer(scheduler, std::move(request), [&](const Event& e) {
    if (first == 0 && !e.tokens.empty()) first = now_seconds(), progress.clear();
    if (first == 0) progress.show(e.prompt_done, total);
    if (quiet) return;
    if (text) fmt::print("{}", e.text);
    else
      for (const SampledToken& t : e.tokens) fmt::print("{}{}", printed++ ? " " : "", t.id);
    std::fflush(stdout);
  });
  if (!a.ok()) return a.status();
  const double end = now_seconds();
  return Timed{std::move(a).value(), (first > 0 ? first : end) - begin, first > 0 ? end - first : 0};
}

void print_stats(const Timed& t) {
  const Usage& u = t.answer.usage;
  const int64_t computed = u.prompt_tokens - u.cached_tokens;
  const double decoded = double(t.answer.tokens.size()) - 1;
  const std::string drafts = u.drafted > 0 ? fmt::format("; {} of {} drafts accepted", u.accepted, u.drafted) : "";
  put_error_line(fmt::format("[{} prompt tokens, {} of them cached, {:.0f} tokens/s; {} new tokens, {:.0f} tokens/s{}]",
                             u.prompt_tokens, u.cached_tokens, computed / std::max(t.prefill_s, 1e-9), t.answer.tokens.size(),
                             decoded > 0 ? decoded / std::max(t.decode_s, 1e-9) : 0.0, drafts));
}

void print_json(const std::vector<int32_t>& prompt, const Timed& t, double load_s) {
  const Answer& a = t.answer;
  const std::vector<int32_t> ids = ids_of(a.tokens);
  boost::json::array logprobs;
  for (const SampledToken& token : a.tokens) logprobs.push_back(token.logprob);
  boost::json::object o;
  o["prompt_ids"] = boost::json::array(prompt.begin(), prompt.end());
  o["ids"] = boost::json::array(ids.begin(), ids.end());
  o["text"] = a.text;
  o["finish_reason"] = finish_reason_name(a.finish);
  o["logprobs"] = std::move(logprobs);
  o["timing"] = {{"load_s", load_s}, {"prefill_s", t.prefill_s}, {"decode_s", t.decode_s}};
  o["speculation"] = {{"drafted", a.usage.drafted}, {"accepted", a.usage.accepted}};
  fmt::print("{}\n", boost::json::serialize(o));
}

Result<std::string> read_prompt(const RunOptions& o) {
  if (o.prompt) return *o.prompt;
  return read_text(o.prompt_file);
}

boost::json::array first_messages(const RunOptions& o) {
  boost::json::array messages;
  if (!o.system.empty()) messages.push_back({{"role", "system"}, {"content", o.system}});
  return messages;
}

Result<std::vector<int32_t>> prompt_ids(const RunOptions& o, const Texts* texts) {
  if (!o.ids.empty()) return parse_ids(o.ids, "--ids");
  SLUICE_ASSIGN_OR_RETURN(const std::string text, read_prompt(o));
  if (o.raw) return texts->tokenizer.encode(text, o.parse_special);
  boost::json::array messages = first_messages(o);
  messages.push_back({{"role", "user"}, {"content", text}});
  return encode_chat(*texts, messages, o.parse_special);
}

Status run_once(const RunOptions& o, Engine& engine, const Texts* texts, Request request, double load_s) {
  SLUICE_ASSIGN_OR_RETURN(request.prompt, prompt_ids(o, texts));
  request.use_cache = false;  // nobody comes after
  Scheduler scheduler(engine);
  SLUICE_ASSIGN_OR_RETURN(const Timed t, stream(scheduler, request, o.json));
  if (o.json) print_json(request.prompt, t, load_s);
  else fmt::print("\n");
  if (o.stats || stderr_is_terminal()) print_stats(t);
  return {};
}

// Each turn is a request of its own; the prefix cache spares the second reading of those before.
Status chat(const RunOptions& o, Engine& engine, const Texts& texts, const Request& like) {
  if (stderr_is_terminal()) fmt::print(stderr, "Type a message and Enter; /new starts over, /exit or Ctrl-D ends.\n");
  boost::json::array messages = first_messages(o);
  Scheduler scheduler(engine);
  for (std::string line;;) {
    if (stderr_is_terminal()) fmt::print(stderr, "> ");
    if (!std::getline(std::cin, line) || line == "/exit") break;
    if (line.empty()) continue;
    if (line == "/new") {
      messages = first_messages(o);
      continue;
    }
    messages.push_back({{"role", "user"}, {"content", line}});
    Request request = like;
    SLUICE_ASSIGN_OR_RETURN(request.prompt, encode_chat(texts, messages, o.parse_special));
    SLUICE_ASSIGN_OR_RETURN(const Timed t, stream(scheduler, std::move(request), false));
    fmt::print("\n");
    if (o.stats || stderr_is_terminal()) print_stats(t);
    messages.push_back({{"role", "assistant"}, {"content", t.answer.text}});
  }
  if (std::cin.bad()) return {Code::kIo, "standard input cannot be read"};
  return {};
}

Status run(const RunOptions& o) {
  const double begin = now_seconds();
  // The engine first: a damaged checkpoint is refused before a large tokenizer is read.
  const bool one_shot = o.prompt || !o.prompt_file.empty() || !o.ids.empty();
  constexpr int64_t kChatSnapshots = 8;  // slots for what a conversation may go back to
  SLUICE_ASSIGN_OR_RETURN(const auto engine, make_engine(o.model, {.state_slots = one_shot ? 0 : 1 + kChatSnapshots}));
  const FallbackWarnings warnings(*engine);
  // Token ids in and out need no tokenizer; everything else does.
  std::optional<Texts> texts;
  if (auto loaded = load_texts(o.model); loaded.ok()) texts = std::move(loaded).value();
  else if (o.ids.empty() || loaded.status().code() != Code::kNotFound) return loaded.status();
  put_notes(*engine);
  const double load_s = now_seconds() - begin;
  Request request{.max_tokens = o.max_tokens};
  const ModelConfig& config = engine->model().config();
  request.sampling.params = sampling_params(o, texts ? texts->generation : GenerationConfig{});
  request.sampling.stop_ids = stop_ids(texts ? &*texts : nullptr, config);
  request.tokenizer = texts ? &texts->tokenizer : nullptr;
  if (one_shot) return run_once(o, *engine, texts ? &*texts : nullptr, std::move(request), load_s);
  return chat(o, *engine, *texts, request);
}

}  // namespace

void add_run(CLI::App& app, Command& command) {
  constexpr const char* kSampling = "Sampling";
  auto o = std::make_shared<RunOptions>();
  CLI::App* sub = app.add_subcommand("run", "answer a prompt, or chat when there is none")->group("Use a model");
  auto* p = sub->add_option("-p,--prompt", o->prompt, "the user's message");
  auto* f = sub->add_option("--prompt-file", o->prompt_file, "read the user's message from a file; - is standard input")
                ->type_name(kFile);
  auto* i = sub->add_option("--ids", o->ids, "the prompt as token ids: 1,2,3")->type_name("IDS");
  p->excludes(f)->excludes(i), f->excludes(i);
  sub->add_option("--system", o->system, "a system message in front");
  sub->add_flag("--raw", o->raw, "give the prompt to the model as it is, without the chat template");
  sub->add_flag("--parse-special", o->parse_special, "let the prompt's text match special tokens, as Hugging Face does");
  sub->add_option("-n,--max-tokens", o->max_tokens, "most new tokens")
      ->check(CLI::Range(int64_t(0), int64_t(1) << 31))
      ->capture_default_str();
  sub->add_option("--temperature", o->temperature,
                  "0 takes the best token; if left out, this and the next three are those of generation_config.json")
      ->check(CLI::Range(0.0, 100.0))
      ->group(kSampling);
  sub->add_option("--top-p", o->top_p, "sample from the best tokens that together reach this probability")
      ->check(CLI::Range(1e-6, 1.0))
      ->group(kSampling);
  sub->add_option("--top-k", o->top_k, "sample from this many best tokens; 0: all")
      ->check(CLI::Range(0, 1 << 30))
      ->group(kSampling);
  sub->add_option("--min-p", o->min_p, "drop tokens below this share of the best one's probability")
      ->check(CLI::Range(0.0, 1.0))
      ->group(kSampling);
  sub->add_option("--seed", o->seed, "the same seed gives the same text")->group(kSampling)->capture_default_str();
  sub->add_flag("--json", o->json, "print one JSON object instead of text");
  sub->add_flag("--stats", o->stats, "print tokens per second on stderr even when it is not a terminal");
  add_model_options(*sub, o->model);
  add_tokenizer_option(*sub, o->model);
  add_speculation_option(*sub, o->model);
  add_snapshots_option(*sub, o->model);
  add_random_weights_options(*sub, o->model);
  sub->callback([o, &command] { command = among_ranks(o->model, [o] { return exit_code(run(*o)); }); });
}

}  // namespace sluice::cli
