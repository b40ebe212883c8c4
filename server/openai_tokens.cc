// POST /tokenize and /detokenize, GET /tokenizer_info: vLLM's shapes.
#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

#include "server/chat_prompt.h"
#include "server/openai_common.h"
#include "server/openai_routes.h"
#include "server/sampling_fields.h"

namespace sluice {
namespace {

namespace json = boost::json;

MaybeError tokenize(const Service& service, const json::object& body, const Responder& responder) {
  MaybeError error;
  const RequestFields f(body, error);
  check_model(f, service);
  f.boolean("add_special_tokens");  // nothing is put around a text
  const bool strings = f.boolean("return_token_strs").value_or(false);
  // Unlike a prompt's: who turns text into tokens looks up the end token with it, and gets back what /detokenize was given.
  const bool parse_special = f.boolean("parse_special").value_or(true);
  if (f.has("chat_template")) f.fail("chat_template", "a request cannot bring a template; the model's own is used");
  std::vector<int32_t> ids;
  if (f.has("messages")) {
    const ChatInput input = read_chat_input(f, service);
    if (error) return error;
    ChatPrompt prompt;
    if (auto e = render_chat(input, service, prompt)) return e;
    ids = std::move(prompt.ids);
  } else {
    const json::value* prompt = f.find("prompt");
    if (!prompt) f.fail("prompt", "is missing, and so is messages");
    else if (!prompt->is_string()) f.fail("prompt", "is " + kind_of(*prompt) + ", wanted a string");
    if (error) return error;
    ids = service.tokenizer().encode(std::string_view(prompt->get_string()), parse_special);
  }
  json::object o = {{"count", ids.size()}, {"max_model_len", service.max_context()}, {"tokens", ids_array(ids)}};
  o["token_strs"] = nullptr;
  if (strings) {
    json::array all;
    for (const int32_t id : ids) all.push_back(json::value(service.tokenizer().decode({&id, 1}, false)));
    o["token_strs"] = std::move(all);
  }
  respond_json(responder, o);
  return std::nullopt;
}

MaybeError detokenize(const Service& service, const json::object& body, const Responder& responder) {
  MaybeError error;
  const RequestFields f(body, error);
  check_model(f, service);
  const auto ids = f.token_ids("tokens", service.vocab_size(), size_t(kMaxJsonValues));
  if (!ids) f.fail("tokens", "is missing");
  if (error) return error;
  respond_json(responder, json::object{{"prompt", service.tokenizer().decode(*ids, false)}});
  return std::nullopt;
}

json::value token_text(const Tokenizer& tokenizer, std::optional<int32_t> id) {
  return id ? json::value(tokenizer.decode({&*id, 1}, false)) : json::value();
}

json::object tokenizer_info(const Service& service) {
  const Tokenizer& t = service.tokenizer();
  json::array special;
  for (const AddedToken& token : t.added_tokens())
    if (token.special) special.push_back(json::value(token.content));
  json::object o = {{"tokenizer_class", "PreTrainedTokenizerFast"},   {"vocab_size", service.vocab_size()},
                    {"model_max_length", service.max_context()},      {"bos_token", token_text(t, t.bos_id())},
                    {"eos_token", token_text(t, t.eos_id())},         {"pad_token", token_text(t, t.pad_id())},
                    {"additional_special_tokens", std::move(special)}};
  o["chat_template"] = service.chat() ? json::value(service.chat()->source()) : json::value();
  return o;
}

}  // namespace

void add_token_routes(Router& router, Service& service) {
  const auto add = [&](const char* path, MaybeError (*handler)(const Service&, const json::object&, const Responder&)) {
    router.add("POST", path,
               json_route(
                   service,
                   [&service, handler](const HttpRequest&, const json::object& body, const Responder& r) {
                     return handler(service, body, r);
                   },
                   error_response, Needs::kTokenizer));
  };
  add("/tokenize", tokenize);
  add("/detokenize", detokenize);
  router.add("GET", "/tokenizer_info", [&service](HttpRequest, Responder r) { respond_json(r, tokenizer_info(service)); });
}

}  // namespace sluice
