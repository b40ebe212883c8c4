#include "tests/fuzz/requests.h"

#include <boost/json/serialize.hpp>
#include <cmath>

#include "io/json.h"
#include "server/sampling_fields.h"
#include "tests/fuzz/fuzz.h"
#include "text/utf8.h"

namespace sluice::fuzz {
namespace {

constexpr int64_t kContext = 256;

ServedModel make_model(bool xml) {
  const std::string dir = "tests/data/oracles/tokenizer/", config = source_file(dir + "tokenizer_config.json");
  const std::string hermes(parse_json(config, "config").value().at("chat_template").as_string());
  const std::string source = xml ? source_file(dir + "chat_template_b.jinja") : hermes;
  Tokenizer tokenizer = Tokenizer::parse(source_file(dir + "tokenizer.json"), "file").value();
  const int64_t vocab = tokenizer.vocab_size();
  const int32_t end = tokenizer.token_id("<|im_end|>").value();
  ServiceTexts texts{std::move(tokenizer), ChatTemplate::parse(source).value(), {}, {end}};
  return {std::move(texts), {.names = {"m"}, .queue = {.waiting_requests = 16}}, vocab, kContext};
}

void check_sampling(const Sampling& s, const ServedModel& served) {
  const SamplingParams& p = s.params;
  SLUICE_HOLDS(p.temperature >= 0 && p.temperature <= 100 && p.top_p > 0 && p.top_p <= 1 && p.min_p >= 0 && p.min_p <= 1);
  SLUICE_HOLDS(p.top_k >= 0 && p.repetition_penalty > 0 && p.repetition_penalty <= 100);
  SLUICE_HOLDS(std::abs(p.presence_penalty) <= 2 && std::abs(p.frequency_penalty) <= 2);
  for (const LogitBias& b : s.bias) SLUICE_HOLDS(b.id >= 0 && b.id < served.vocab_size() && std::abs(b.bias) <= 100);
  check_prompt(s.allowed, served), check_prompt(s.stop_ids, served);
  for (const auto& word : s.bad_words) {
    SLUICE_HOLDS(!word.empty());
    check_prompt(word, served);
  }
}

}  // namespace

const ServedModel& served_model(bool xml) {
  static const ServedModel with_xml = make_model(true), with_json = make_model(false);
  return xml ? with_xml : with_json;
}

void check_error(const ApiError& e) {
  SLUICE_HOLDS(e.status == 400 || e.status == 404 || e.status == 422 || e.status == 500 || e.status == 501,
               std::to_string(e.status));
  SLUICE_HOLDS(!e.message.empty() && !e.type.empty());
  for (const bool anthropic : {false, true}) {
    const HttpResponse r = anthropic ? anthropic_error_response(e, "id") : error_response(e, "id");
    SLUICE_HOLDS(r.status == e.status && utf8_valid(r.body) && parse_json(r.body, "error").ok(), r.body);
  }
}

void check_prompt(const std::vector<int32_t>& ids, const ServedModel& served) {
  for (const int32_t id : ids) SLUICE_HOLDS(id >= 0 && id < served.vocab_size());
}

void check_choices(const std::vector<Request>& choices, const ServedModel& served) {
  SLUICE_HOLDS(!choices.empty() && int64_t(choices.size()) <= served.queue_limits().waiting_requests);
  for (const Request& r : choices) {
    const int64_t tokens = int64_t(r.prompt.size());
    SLUICE_HOLDS(tokens >= 1 && tokens + (r.max_tokens > 0 ? 1 : 0) <= served.max_context());
    SLUICE_HOLDS(r.max_tokens >= 0 && r.max_tokens <= served.max_context());
    check_prompt(r.prompt, served);
    check_sampling(r.sampling, served);
    SLUICE_HOLDS(r.sampling.min_tokens >= 0 && r.sampling.min_tokens <= r.max_tokens);
    SLUICE_HOLDS(r.top_logprobs >= 0 && r.top_logprobs <= kMaxTopLogprobs);
    SLUICE_HOLDS(r.prompt_logprobs >= -1 && r.prompt_logprobs <= kMaxTopLogprobs);
    SLUICE_HOLDS(r.stop_strings.size() <= kMaxStops);
    for (const std::string& stop : r.stop_strings) SLUICE_HOLDS(!stop.empty() && stop.size() <= kMaxStopBytes && utf8_valid(stop));
    for (const int64_t boundary : r.boundaries) SLUICE_HOLDS(boundary >= 0 && boundary <= tokens);
    SLUICE_HOLDS(r.tokenizer == &served.tokenizer());
  }
}

}  // namespace sluice::fuzz
