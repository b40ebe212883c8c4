// tokenizer.json and tokenizer_config.json -> Tokenizer::Parts, with everything checked.
#include <algorithm>
#include <charconv>

#include "io/json.h"
#include "text/tokenizer_fields.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_parts.h"
#include "text/unicode.h"

namespace sluice {
namespace {

namespace json = boost::json;

Status unsupported(std::string message) { return Status(Code::kUnsupported, std::move(message)); }

// NFC, alone or in Sequences; the rest is not what byte-level models use.
Status parse_normalizer(const json::value& v, const std::string& where, bool& nfc) {
  if (v.is_null()) return ok_status();
  SLUICE_ASSIGN_OR_RETURN(const TokenizerFields fields, TokenizerFields::of(v, where));
  SLUICE_ASSIGN_OR_RETURN(const std::string type, fields.text("type"));
  if (type == "NFC") return nfc = true, ok_status();
  if (type != "Sequence") return unsupported(fields.name("type") + " is " + quote(type) + ", wanted NFC, or a Sequence of it");
  const json::value* list = fields.find("normalizers");
  if (!list || !list->is_array()) return fields.wrong("normalizers", "an array");
  for (size_t i = 0; i < list->get_array().size(); ++i)
    SLUICE_RETURN_IF_ERROR(parse_normalizer(list->get_array()[i], fields.name("normalizers") + "[" + std::to_string(i) + "]", nfc));
  return ok_status();
}

Status check_decoder(const TokenizerFields& file) {
  const json::value* v = file.find("decoder");
  if (!v) return file.wrong("decoder", "one of type ByteLevel");
  SLUICE_ASSIGN_OR_RETURN(const TokenizerFields fields, TokenizerFields::of(*v, file.name("decoder")));
  SLUICE_ASSIGN_OR_RETURN(const std::string type, fields.text("type"));
  return type == "ByteLevel" ? ok_status() : unsupported(fields.name("type") + " is " + quote(type) + ", wanted ByteLevel");
}

Status check_model(const TokenizerFields& model) {
  if (model.find("type")) {
    SLUICE_ASSIGN_OR_RETURN(const std::string type, model.text("type"));
    if (type != "BPE") return unsupported(model.name("type") + " is " + quote(type) + ", wanted BPE");
  }
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model.find(affix)) continue;
    SLUICE_ASSIGN_OR_RETURN(const std::string text, model.text(affix));
    if (!text.empty())
      return unsupported(model.name(affix) + " is " + quote(text) + ", wanted none: only byte-level models are supported");
  }
  const json::value* dropout = model.find("dropout");
  if (dropout && !(dropout->is_number() && dropout->to_number<double>() == 0))
    return model.wrong("dropout", "null: ids must not be random");
  return ok_status();
}

// Every text must have tokens. Bytes that UTF-8 does not use may lack one.
Status check_bytes(const Vocabulary& vocabulary, const std::string& where) {
  for (int b = 0; b <= 0xF4; ++b) {
    const char byte = char(b);
    if (b != 0xC0 && b != 0xC1 && vocabulary.find_bytes({&byte, 1}) < 0)
      return bad_file(where + " has no token for the byte " + std::to_string(b) + ", wanted one for each byte of UTF-8");
  }
  return ok_status();
}

Result<std::vector<Merge>> resolve_merges(const Vocabulary& vocabulary, const MergeSpellings& spellings, const std::string& where) {
  std::vector<Merge> merges(spellings.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const std::string_view parts[] = {spellings.left(rank), spellings.right(rank), spellings.both(rank)};
    int32_t ids[3];
    for (int i = 0; i < 3; ++i) {
      ids[i] = vocabulary.find_spelling(parts[i]);
      if (ids[i] < 0)
        return bad_file(where + "[" + std::to_string(rank) + "] joins " + quote(parts[0]) + " and " + quote(parts[1]) + ", but " +
                        quote(parts[i]) + " is not in model.vocab; wanted all three there");
    }
    merges[rank] = {ids[0], ids[1], ids[2]};
  }
  return merges;
}

Result<AddedToken> parse_added_token(const TokenizerFields& fields, int64_t id) {
  if (id < 0 || id >= Vocabulary::kIdLimit)
    return bad_file(fields.name("id") + " is " + std::to_string(id) + ", wanted 0 to " + std::to_string(Vocabulary::kIdLimit - 1));
  AddedToken token;
  token.id = int32_t(id);
  SLUICE_ASSIGN_OR_RETURN(token.content, fields.text("content"));
  SLUICE_ASSIGN_OR_RETURN(token.special, fields.flag("special", false));
  SLUICE_ASSIGN_OR_RETURN(token.single_word, fields.flag("single_word", false));
  SLUICE_ASSIGN_OR_RETURN(token.lstrip, fields.flag("lstrip", false));
  SLUICE_ASSIGN_OR_RETURN(token.rstrip, fields.flag("rstrip", false));
  SLUICE_ASSIGN_OR_RETURN(token.normalized, fields.flag("normalized", !token.special));
  return token;
}

Result<std::vector<AddedToken>> parse_added_tokens(const TokenizerFields& file) {
  std::vector<AddedToken> tokens;
  const json::value* list = file.find("added_tokens");
  if (!list) return tokens;
  if (!list->is_array()) return file.wrong("added_tokens", "an array");
  for (size_t i = 0; i < list->get_array().size(); ++i) {
    SLUICE_ASSIGN_OR_RETURN(const TokenizerFields fields,
                            TokenizerFields::of(list->get_array()[i], file.name("added_tokens") + "[" + std::to_string(i) + "]"));
    SLUICE_ASSIGN_OR_RETURN(const int64_t id, fields.integer("id"));
    SLUICE_ASSIGN_OR_RETURN(AddedToken token, parse_added_token(fields, id));
    tokens.push_back(std::move(token));
  }
  return tokens;
}

// The added tokens of tokenizer_config.json, whose ids are the keys.
Status parse_added_tokens_decoder(const TokenizerFields& config, std::vector<AddedToken>& tokens) {
  const json::value* map = config.find("added_tokens_decoder");
  if (!map) return ok_status();
  if (!map->is_object()) return config.wrong("added_tokens_decoder", "an object");
  for (const auto& [key, value] : map->get_object()) {
    int64_t id = -1;
    const auto parsed = std::from_chars(key.data(), key.data() + key.size(), id);
    if (parsed.ec != std::errc() || parsed.ptr != key.data() + key.size())
      return bad_file(config.name("added_tokens_decoder") + " has the name " + quote({key.data(), key.size()}, 40) +
                      ", wanted an id");
    const std::string name = config.name("added_tokens_decoder") + "." + std::to_string(id);
    SLUICE_ASSIGN_OR_RETURN(const TokenizerFields fields, TokenizerFields::of(value, name));
    SLUICE_ASSIGN_OR_RETURN(AddedToken token, parse_added_token(fields, id));
    tokens.push_back(std::move(token));
  }
  return ok_status();
}

// A token's name in tokenizer_config.json: a string, or an object with `content`. Null: none.
std::optional<std::string> named_token(const TokenizerFields& config, const char* field) {
  const json::value* v = config.find(field);
  if (v && v->is_object()) v = v->get_object().if_contains("content");
  if (!v || !v->is_string()) return std::nullopt;
  return std::string(v->get_string().data(), v->get_string().size());
}

// By id; each id and each content once. Of two entries that agree on both, the first counts.
Result<std::vector<AddedToken>> unique_by_id(std::vector<AddedToken> tokens, const std::string& where) {
  std::stable_sort(tokens.begin(), tokens.end(), [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  const auto same_id = [](const AddedToken& a, const AddedToken& b) { return a.id == b.id; };
  for (size_t i = 1; i < tokens.size(); ++i)
    if (same_id(tokens[i - 1], tokens[i]) && tokens[i - 1].content != tokens[i].content)
      return bad_file(where + ": tokens " + quote(tokens[i - 1].content) + " and " + quote(tokens[i].content) + " both have id " +
                      std::to_string(tokens[i].id) + ", wanted each id once");
  tokens.erase(std::unique(tokens.begin(), tokens.end(), same_id), tokens.end());
  return tokens;
}

Status add_to_vocabulary(const std::vector<AddedToken>& tokens, Vocabulary& vocabulary, const std::string& where) {
  for (const AddedToken& token : tokens)
    if (token.content.empty() || vocabulary.find_spelling(token.content) != token.id)
      SLUICE_RETURN_IF_ERROR(vocabulary.add(token.content, token.id).in(where));
  return ok_status();
}

AddedTokenMatcher matcher(const std::vector<AddedToken>& tokens, bool normalized, bool nfc) {
  std::vector<AddedTokenMatcher::Pattern> patterns;
  std::vector<Rewrite> rewrites;
  for (const AddedToken& token : tokens) {
    if (token.normalized != normalized) continue;
    std::string text;
    const bool changed = normalized && nfc && to_nfc(token.content, text, rewrites);
    patterns.push_back({changed ? std::move(text) : token.content, token});
  }
  return AddedTokenMatcher(std::move(patterns));
}

}  // namespace

Status Tokenizer::load_config(std::string_view text, const std::string& where, Parts& parts, std::vector<AddedToken>& added) {
  SLUICE_ASSIGN_OR_RETURN(const json::value value, parse_json(text, where));
  SLUICE_ASSIGN_OR_RETURN(const TokenizerFields config, TokenizerFields::of_file(value, where));
  SLUICE_RETURN_IF_ERROR(parse_added_tokens_decoder(config, added));
  const auto id_of = [&](const std::string& content) -> std::optional<int32_t> {
    for (const AddedToken& token : added)
      if (token.content == content) return token.id;
    const int32_t id = parts.vocabulary.find_spelling(content);
    if (id < 0) return std::nullopt;
    // A token of the model that the config names becomes an added one, as in Hugging Face's tokenizers.
    added.push_back({.id = id, .content = content, .special = true});
    return id;
  };
  const auto id_named = [&](const char* field) {
    const std::optional<std::string> content = named_token(config, field);
    return content ? id_of(*content) : std::nullopt;
  };
  parts.bos = id_named("bos_token");
  parts.eos = id_named("eos_token");
  parts.pad = id_named("pad_token");
  return ok_status();
}

Result<Tokenizer> Tokenizer::parse(std::string_view text, const std::string& where, std::string_view config_text,
                                   const std::string& config_where) {
  SLUICE_ASSIGN_OR_RETURN(TokenizerJson json, read_tokenizer_json(text, where));
  SLUICE_ASSIGN_OR_RETURN(const TokenizerFields file, TokenizerFields::of_file(json.rest, where));
  const json::value* model_value = file.find("model");
  if (!model_value) return file.wrong("model", "an object");
  SLUICE_ASSIGN_OR_RETURN(const TokenizerFields model, TokenizerFields::of(*model_value, file.name("model")));
  SLUICE_RETURN_IF_ERROR(check_model(model));
  if (!json.has_vocab) return model.wrong("vocab", "an object of tokens and ids");
  if (!json.has_merges) return model.wrong("merges", "an array");

  const json::value* pretokenizer = file.find("pre_tokenizer");
  SLUICE_ASSIGN_OR_RETURN(PreTokenizer steps,
                          PreTokenizer::parse(pretokenizer ? *pretokenizer : json::value(), file.name("pre_tokenizer")));
  const auto parts = std::make_shared<Parts>(std::move(steps));
  parts->vocabulary = std::move(json.vocab);
  if (const json::value* normalizer = file.find("normalizer"))
    SLUICE_RETURN_IF_ERROR(parse_normalizer(*normalizer, file.name("normalizer"), parts->nfc));
  SLUICE_RETURN_IF_ERROR(check_decoder(file));
  SLUICE_RETURN_IF_ERROR(check_bytes(parts->vocabulary, model.name("vocab")));
  SLUICE_ASSIGN_OR_RETURN(const std::vector<Merge> merges, resolve_merges(parts->vocabulary, json.merges, model.name("merges")));
  SLUICE_ASSIGN_OR_RETURN(const bool ignore_merges, model.flag("ignore_merges", false));

  SLUICE_ASSIGN_OR_RETURN(std::vector<AddedToken> added, parse_added_tokens(file));
  if (!config_text.empty()) SLUICE_RETURN_IF_ERROR(load_config(config_text, config_where, *parts, added));
  SLUICE_ASSIGN_OR_RETURN(parts->added, unique_by_id(std::move(added), file.name("added_tokens")));
  SLUICE_RETURN_IF_ERROR(add_to_vocabulary(parts->added, parts->vocabulary, file.name("added_tokens")));

  std::vector<int32_t> added_ids;
  parts->special.resize(size_t(parts->vocabulary.size()));
  for (const AddedToken& token : parts->added) {
    added_ids.push_back(token.id);
    parts->special[size_t(token.id)] = token.special;
  }
  parts->bpe = std::make_unique<Bpe>(parts->vocabulary, merges, ignore_merges, added_ids);
  parts->raw_added = matcher(parts->added, false, parts->nfc);
  parts->normalized_added = matcher(parts->added, true, parts->nfc);
  return Tokenizer(parts);
}

}  // namespace sluice
