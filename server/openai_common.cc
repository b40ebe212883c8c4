#include "server/openai_common.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "server/sse.h"
#include "text/utf8.h"

namespace sluice {
namespace {

namespace json = boost::json;

json::array bytes_of(const std::string& bytes) {
  json::array out;
  for (const unsigned char c : bytes) out.push_back(int64_t(c));
  return out;
}

json::object token_object(const TokenLogprob& t, const Tokenizer& tokenizer, bool as_id) {
  return {{"token", shown_token(tokenizer, t.id, as_id)},
          {"logprob", finite_logprob(t.logprob)},
          {"bytes", bytes_of(tokenizer.token_bytes(t.id))}};
}

}  // namespace

Handler json_route(Service& service, BodyHandler handler, ErrorWriter write_error, Needs needs) {
  return [&service, write_error, needs, handler = std::move(handler)](HttpRequest request, Responder responder) {
    std::shared_ptr<void> on_its_way;
    if (needs == Needs::kEngine) {
      if (const Status s = service.loop().room(service.on_their_way()); !s.ok())
        return responder.respond(write_error(api_error(s), request.id));
      on_its_way = service.count_on_its_way();
    }
    auto held = std::make_shared<HttpRequest>(std::move(request));
    service.workers().post([handler, write_error, held, responder, on_its_way] {
      try {
        json::object body;
        MaybeError error = parse_body(held->body, body);
        held->body = {};
        if (!error) error = handler(*held, body, responder);
        if (error) responder.respond(write_error(*error, held->id));
      } catch (const std::bad_alloc&) {
        responder.respond(write_error(unavailable("out of memory"), held->id));
      }
    });
  };
}

void respond_json(const Responder& responder, const json::value& value) {
  responder.respond(200, {{"Content-Type", "application/json"}}, json::serialize(value));
}

void UsageSum::add(const Usage& u, bool first, int64_t reasoning) {
  if (first) prompt_tokens += u.prompt_tokens, cached_tokens += u.cached_tokens;
  completion_tokens += u.completion_tokens, reasoning_tokens += reasoning;
  drafted += u.drafted, accepted += u.accepted;
}

json::object usage_object(const UsageSum& u) {
  return {{"prompt_tokens", u.prompt_tokens},
          {"completion_tokens", u.completion_tokens},
          {"total_tokens", u.prompt_tokens + u.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", u.cached_tokens}}},
          {"completion_tokens_details",
           {{"reasoning_tokens", u.reasoning_tokens},
            {"accepted_prediction_tokens", u.accepted},
            {"rejected_prediction_tokens", u.drafted - u.accepted}}}};
}

const char* openai_finish_reason(FinishReason reason) { return reason == FinishReason::kLength ? "length" : "stop"; }

bool ends_with_stop_token(const Event& e) { return e.finish == FinishReason::kStop && e.stop_string.empty() && !e.tokens.empty(); }

json::value stop_reason(const Event& e, const Service& service) {
  if (!e.stop_string.empty()) return json::value(e.stop_string);
  if (!ends_with_stop_token(e)) return nullptr;
  const int32_t id = e.tokens.back().id;
  return std::ranges::count(service.stop_ids(), id) ? json::value() : json::value(id);
}

std::string error_event(const ApiError& error) { return sse_event(json::serialize(error_object(error))); }

std::string shown_token(const Tokenizer& tokenizer, int32_t id, bool as_id) {
  if (as_id) return "token_id:" + std::to_string(id);
  std::string bytes = tokenizer.token_bytes(id);
  if (utf8_valid(bytes)) return bytes;
  std::string shown = "bytes:";
  for (const unsigned char c : bytes) shown += fmt::format("\\x{:02x}", c);
  return shown;
}

json::object logprob_object(const SampledToken& token, const Tokenizer& tokenizer, bool as_id) {
  json::object out = token_object(token, tokenizer, as_id);
  json::array best;
  for (const TokenLogprob& b : token.best) best.push_back(token_object(b, tokenizer, as_id));
  out["top_logprobs"] = std::move(best);
  return out;
}

double finite_logprob(float logprob) { return std::max(-9999.0, double(logprob)); }

json::array ids_array(const std::vector<int32_t>& ids) { return json::array(ids.begin(), ids.end()); }

json::array prompt_logprobs_array(const std::vector<SampledToken>& tokens, const Tokenizer& tokenizer) {
  json::array out = {nullptr};
  for (const SampledToken& t : tokens) {
    json::object row;
    const auto add = [&](const TokenLogprob& p, json::value rank) {
      const int32_t id = p.id;
      row[std::to_string(id)] = {
          {"logprob", finite_logprob(p.logprob)}, {"rank", std::move(rank)}, {"decoded_token", tokenizer.decode({&id, 1}, false)}};
    };
    add(t, nullptr);
    for (size_t i = 0; i < t.best.size(); ++i) add(t.best[i], int64_t(i + 1));
    out.push_back(std::move(row));
  }
  return out;
}

}  // namespace sluice
