// sluice tokenize: text to token ids and back.
#include <fmt/core.h>

#include <boost/json.hpp>

#include "cli/command.h"
#include "cli/read_text.h"

namespace sluice::cli {
namespace {

struct TokenizeOptions {
  ModelOptions model;
  std::optional<std::string> text;
  std::string ids;
  bool json = false, parse_special = false;
};

void print_tokens(const Texts& texts, const std::vector<int32_t>& ids) {
  for (const int32_t id : ids)
    fmt::print("{:>8}  {}\n", id, boost::json::serialize(boost::json::string(texts.tokenizer.decode({&id, 1}, false))));
}

Status tokenize(const TokenizeOptions& o) {
  SLUICE_ASSIGN_OR_RETURN(const Texts texts, load_texts(o.model));
  if (!o.ids.empty()) {
    SLUICE_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, parse_ids(o.ids, "--ids"));
    fmt::print("{}\n", texts.tokenizer.decode(ids, false));
    return {};
  }
  SLUICE_ASSIGN_OR_RETURN(const std::string text, o.text ? *o.text : read_text("-"));
  const std::vector<int32_t> ids = texts.tokenizer.encode(text, o.parse_special);
  if (o.json) fmt::print("{}\n", boost::json::serialize(boost::json::array(ids.begin(), ids.end())));
  else print_tokens(texts, ids);
  return {};
}

}  // namespace

void add_tokenize(CLI::App& app, Command& command) {
  auto o = std::make_shared<TokenizeOptions>();
  CLI::App* sub = app.add_subcommand("tokenize", "show the tokens of a text")->group("Look inside");
  sub->add_option("MODEL", o->model.model, "folder of a Hugging Face checkpoint; the demo model if left out")->type_name(kDir);
  auto* text = sub->add_option("--text", o->text, "the text; standard input if left out");
  sub->add_option("--ids", o->ids, "token ids to turn into text instead: 1,2,3")->type_name("IDS")->excludes(text);
  sub->add_flag("--parse-special", o->parse_special, "let the text match special tokens, as Hugging Face does");
  sub->add_flag("--json", o->json, "print the ids as a JSON array");
  sub->callback([o, &command] { command = [o] { return exit_code(tokenize(*o)); }; });
}

}  // namespace sluice::cli
