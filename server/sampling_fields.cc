#include "server/sampling_fields.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <random>

#include "io/quote.h"

namespace sluice {
namespace {

namespace json = boost::json;

constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();
constexpr size_t kMaxBadWords = 256, kMaxStopIds = 1024;
constexpr const char* kFreeText = "structured output is not offered yet: answers are free text";

uint64_t random_seed() {
  std::random_device device;
  return uint64_t(device()) << 32 | device();
}

// What is above 0 stays so where float has no number as small.
float above_zero(double value) { return std::max(float(value), std::numeric_limits<float>::min()); }

// Where a request says nothing, generation_config.json does.
void read_distribution(const RequestFields& f, const GenerationConfig& g, SamplingParams& p) {
  // A checkpoint that is not made for sampling still samples when it is asked to.
  const double temperature = g.do_sample ? g.temperature : 0;
  p.temperature = float(f.number("temperature", 0, 100).value_or(temperature));
  p.top_p = above_zero(f.number("top_p", 0, 1, true).value_or(g.top_p > 0 ? g.top_p : 1));
  p.min_p = float(f.number("min_p", 0, 1).value_or(g.min_p));
  p.top_k = int(std::max<int64_t>(0, f.integer("top_k", -1, kInt32Max).value_or(g.top_k)));  // -1: all, as in vLLM
  p.repetition_penalty = above_zero(f.number("repetition_penalty", 0, 100, true).value_or(1));
  p.presence_penalty = float(f.number("presence_penalty", -2, 2).value_or(0));
  p.frequency_penalty = float(f.number("frequency_penalty", -2, 2).value_or(0));
  const auto seed = f.integer("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max());
  p.seed = seed ? uint64_t(*seed) : random_seed();
}

void read_logit_bias(const RequestFields& f, int64_t vocab, std::vector<LogitBias>& out) {
  const json::object* bias = f.object("logit_bias");
  if (!bias) return;
  if (bias->size() > kMaxLogitBias)
    return f.fail("logit_bias",
                  "has " + std::to_string(bias->size()) + " members, wanted at most " + std::to_string(kMaxLogitBias));
  for (const auto& member : *bias) {
    const std::string_view key = member.key();
    int64_t id = -1;
    const auto [end, ec] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (ec != std::errc() || end != key.data() + key.size() || id < 0 || id >= vocab)
      return f.fail("logit_bias", quote(key, 32) + " is no token id below " + std::to_string(vocab));
    json::error_code bad;
    const double value = member.value().is_number() ? member.value().to_number<double>(bad) : 1000;
    if (!(value >= -100 && value <= 100))
      return f.fail("logit_bias", "the bias of token " + std::string(key) + " is not a number from -100 to 100");
    if (std::ranges::any_of(out, [&](const LogitBias& b) { return b.id == id; }))
      return f.fail("logit_bias", "token " + std::to_string(id) + " comes twice");
    out.push_back({int32_t(id), float(value)});
  }
}

// A word may begin a text or come behind a space, which are different tokens.
void read_bad_words(const RequestFields& f, const Tokenizer& tokenizer, std::vector<std::vector<int32_t>>& out) {
  const auto words = f.strings("bad_words", kMaxBadWords, kMaxStopBytes, false);
  if (!words) return;
  for (const std::string& word : *words)
    for (const std::string& form : {word, " " + word}) {
      auto ids = tokenizer.encode(form, false);
      if (!ids.empty() && std::ranges::find(out, ids) == out.end()) out.push_back(std::move(ids));
    }
}

void read_stops(const RequestFields& f, const ServedModel& served, Request& r) {
  if (auto stops = f.strings("stop", kMaxStops, kMaxStopBytes, true)) r.stop_strings = std::move(*stops);
  if (auto ids = f.token_ids("stop_token_ids", served.vocab_size(), kMaxStopIds)) r.sampling.stop_ids = std::move(*ids);
  if (!f.boolean("ignore_eos").value_or(false))
    r.sampling.stop_ids.insert(r.sampling.stop_ids.end(), served.stop_ids().begin(), served.stop_ids().end());
  r.include_stop = f.boolean("include_stop_str_in_output").value_or(false);
  r.skip_special = f.boolean("skip_special_tokens").value_or(true);
}

void read_length(const RequestFields& f, const ServedModel& served, int64_t default_max_tokens,
                 std::initializer_list<std::string_view> names, Request& r) {
  const int64_t context = served.max_context();
  std::optional<int64_t> given;
  for (const std::string_view name : names)
    if (const auto n = f.integer(name, 0, context); !given) given = n;
  r.max_tokens = given.value_or(std::min(default_max_tokens, context));
  r.sampling.min_tokens = f.integer("min_tokens", 0, context).value_or(0);
  if (f.ok() && r.sampling.min_tokens > r.max_tokens)
    f.fail("min_tokens",
           "is " + std::to_string(r.sampling.min_tokens) + ", more than the answer may have, " + std::to_string(r.max_tokens));
}

void read_cache(const RequestFields& f, bool offered, Request& r) {
  // No name is common: vLLM has none, llama.cpp has cache_prompt.
  const bool use_cache = f.boolean("use_cache").value_or(true), cache_prompt = f.boolean("cache_prompt").value_or(true);
  r.use_cache = offered && use_cache && cache_prompt;
  if (auto salt = f.string("cache_salt", kMaxIdBytes)) r.cache_salt = std::move(*salt);
  if (f.has("cache_salt") && r.cache_salt.empty()) f.fail("cache_salt", "is empty");
}

void read_stream(const RequestFields& f, CommonFields& c) {
  c.stream = f.boolean("stream").value_or(false);
  const json::object* options = f.object("stream_options");
  if (!options) return;
  const RequestFields o(*options, f.error(), f.name("stream_options."));
  c.include_usage = o.boolean("include_usage").value_or(false);
  o.boolean("continuous_usage_stats");
  o.boolean("include_obfuscation");
  if (!c.stream) f.fail("stream_options", "is there without stream: true");
}

}  // namespace

CommonFields read_common_fields(const RequestFields& f, const ServedModel& served, int64_t default_max_tokens,
                                std::initializer_list<std::string_view> lengths) {
  CommonFields c;
  Request& r = c.request;
  check_model(f, served);
  read_distribution(f, served.generation(), r.sampling.params);
  read_logit_bias(f, served.vocab_size(), r.sampling.bias);
  read_bad_words(f, served.tokenizer(), r.sampling.bad_words);
  if (auto allowed = f.token_ids("allowed_token_ids", served.vocab_size(), size_t(served.vocab_size()))) {
    if (allowed->empty()) f.fail("allowed_token_ids", "is empty");
    std::ranges::sort(*allowed);
    allowed->erase(std::unique(allowed->begin(), allowed->end()), allowed->end());
    r.sampling.allowed = std::move(*allowed);
  }
  read_stops(f, served, r);
  read_length(f, served, default_max_tokens, lengths, r);
  read_cache(f, served.use_cache(), r);
  read_stream(f, c);
  // vLLM: the lower goes first.
  r.priority = -int(f.integer("priority", -kInt32Max, kInt32Max).value_or(0));
  r.prompt_logprobs = int(f.integer("prompt_logprobs", 0, kMaxTopLogprobs).value_or(-1));
  if (r.prompt_logprobs >= 0 && c.stream) f.fail("prompt_logprobs", "is not offered with stream");
  r.tokenizer = &served.tokenizer();
  c.n = int(f.integer("n", 1, kMaxChoices).value_or(1));
  if (const auto best_of = f.integer("best_of", 1, kInt32Max); best_of && *best_of > c.n)
    f.unsupported("best_of", "choices beyond n are not offered");
  c.return_token_ids = f.boolean("return_token_ids").value_or(false);
  c.tokens_as_ids = f.boolean("return_tokens_as_token_ids").value_or(false);
  c.parse_special = f.boolean("parse_special").value_or(false);
  c.keep_prompt_tokens = f.integer("truncate_prompt_tokens", -1, kInt32Max);
  if (c.keep_prompt_tokens == 0) f.fail("truncate_prompt_tokens", "is 0, wanted -1 (what the context holds) or more than 0");
  if (auto id = f.string("request_id", kMaxIdBytes)) c.request_id = std::move(*id);
  check_text_format(f);
  check_ignored_fields(f);
  return c;
}

void check_model(const RequestFields& f, const ServedModel& served) {
  const auto model = f.string("model", 1024);
  if (!model || served.has_name(*model)) return;
  f.error() = ApiError{.status = 404,
                       .message = "the model " + quote(*model) + " is not served here; '" + served.name() + "' is",
                       .param = f.name("model"),
                       .code = "model_not_found"};
}

void check_format(const RequestFields& f, std::string_view key) {
  const json::object* format = f.object(key);
  if (!format) return;
  const RequestFields o(*format, f.error(), f.name(key) + ".");
  const auto type = o.choice("type", {"text", "json_object", "json_schema", "structural_tag", "grammar", "regex"});
  if (!type) o.fail("type", "is missing");
  if (type && *type != "text") f.unsupported(key, kFreeText);
}

void check_text_format(const RequestFields& f) {
  check_format(f, "response_format");
  for (const char* key : {"structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar",
                          "guided_decoding_backend", "guided_whitespace_pattern", "json_schema", "regex", "ebnf", "grammar"})
    if (f.has(key)) f.unsupported(key, kFreeText);
}

void check_ignored_fields(const RequestFields& f) {
  constexpr size_t kLong = 64 << 10;
  for (const char* key : {"user", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "verbosity"})
    f.string(key, kLong);
  for (const char* key : {"store", "spaces_between_special_tokens", "add_special_tokens", "early_stopping", "separate_reasoning",
                          "stream_reasoning", "parallel_tool_calls", "include_reasoning"})
    f.boolean(key);
  for (const char* key : {"metadata", "vllm_xargs", "kv_transfer_params", "mm_processor_kwargs", "prediction"}) f.object(key);
  f.number("length_penalty", -100, 100);
  f.integer("thinking_token_budget", -1, kInt32Max);
  if (f.boolean("use_beam_search").value_or(false)) f.unsupported("use_beam_search", "beam search is not offered");
  if (f.has("chat_template")) f.fail("chat_template", "a request cannot bring a template; the model's own is used");
  if (f.has("logits_processors")) f.fail("logits_processors", "a request cannot bring code");
}

int64_t room_for_prompt(int64_t context, int64_t max_tokens) {
  return std::max<int64_t>(1, context - std::clamp<int64_t>(max_tokens, 1, std::max<int64_t>(1, context / 4)));
}

MaybeError fit_prompt(const CommonFields& c, const ServedModel& served, const std::string& param, std::vector<int32_t>& ids) {
  const int64_t context = served.max_context();
  if (c.keep_prompt_tokens) {
    const int64_t keep = *c.keep_prompt_tokens < 0 ? room_for_prompt(context, c.request.max_tokens) : *c.keep_prompt_tokens;
    if (int64_t(ids.size()) > keep) ids.erase(ids.begin(), ids.end() - keep);
  }
  if (ids.empty()) return bad_field(param, param + ": has no tokens, wanted at least one");
  const int64_t needed = int64_t(ids.size()) + (c.request.max_tokens > 0 ? 1 : 0);
  if (needed <= context) return check_prompt_logprobs(prompt_logprob_count(c, ids), param);
  ApiError e = bad_field(param, param + ": has " + std::to_string(ids.size()) + " tokens, the model's context is " +
                                    std::to_string(context) + " tokens, answer included");
  e.code = "context_length_exceeded";
  return e;
}

int64_t prompt_logprob_count(const CommonFields& c, const std::vector<int32_t>& ids) {
  const int each = c.request.prompt_logprobs;
  return each < 0 ? 0 : int64_t(ids.size()) * c.n * (1 + each);
}

MaybeError check_prompt_logprobs(int64_t count, const std::string& param) {
  if (count <= kMaxPromptLogprobs) return std::nullopt;
  return bad_field(param, param + ": " + std::to_string(count) + " log-probabilities of the prompt are wanted, the most is " +
                              std::to_string(kMaxPromptLogprobs));
}

void add_choices(const CommonFields& c, const std::vector<int32_t>& prompt, const std::vector<int64_t>& boundaries,
                 std::vector<Request>& out) {
  for (int i = 0; i < c.n; ++i) {
    Request r = c.request;
    r.prompt = prompt;
    r.boundaries = boundaries;
    r.sampling.params.seed += uint64_t(i);
    if (i > 0) r.prompt_logprobs = -1;  // the first choice's are everybody's
    out.push_back(std::move(r));
  }
}

}  // namespace sluice
