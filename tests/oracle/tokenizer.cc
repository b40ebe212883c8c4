// Tokenizer and chat cases against Hugging Face's.
#include "text/tokenizer.h"

#include <filesystem>

#include "io/json.h"
#include "tests/oracle/parts.h"
#include "text/chat.h"
#include "text/detokenizer.h"

namespace sluice {
namespace {

namespace json = boost::json;

Result<json::value> load(const std::string& path) {
  SLUICE_ASSIGN_OR_RETURN(const std::string text, read_small_file(path, size_t(64) << 20));
  return parse_json(text, path);
}

std::vector<int32_t> ids_of(const json::value& list) {
  std::vector<int32_t> ids;
  for (const auto& v : list.as_array()) ids.push_back(int32_t(v.to_number<int64_t>()));
  return ids;
}

std::string_view text_of(const json::object& o, const char* key) { return o.at(key).as_string(); }

// What a client that streams sees.
std::string streamed(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip_special) {
  Detokenizer d(tokenizer, skip_special);
  std::string text;
  for (const int32_t id : ids) text += d.push(id);
  return text + d.finish();
}

void count(Report& report, const std::string& name, size_t right, size_t all) {
  report.check(name, right == all && all > 0, std::to_string(right) + " of " + std::to_string(all));
}

void check_strings(const Tokenizer& tokenizer, const json::object& file, Report& report) {
  size_t ids_right = 0, decoded_right = 0, skip_right = 0, stream_right = 0, all = 0;
  for (const auto& v : file.at("strings").as_array()) {
    const json::object& s = v.as_object();
    const std::vector<int32_t> ids = ids_of(s.at("ids"));
    ++all;
    ids_right += tokenizer.encode(text_of(s, "text"), true) == ids;
    decoded_right += tokenizer.decode(ids, false) == text_of(s, "decoded");
    skip_right += tokenizer.decode(ids, true) == text_of(s, "decoded_skip_special");
    stream_right += streamed(tokenizer, ids, false) == text_of(s, "decoded");
  }
  count(report, "tokenizer/strings ids", ids_right, all);
  count(report, "tokenizer/strings decoded", decoded_right, all);
  count(report, "tokenizer/strings decoded_skip_special", skip_right, all);
  count(report, "tokenizer/strings streamed", stream_right, all);
}

void check_decode_only(const Tokenizer& tokenizer, const json::object& file, Report& report) {
  size_t right = 0, stream_right = 0, all = 0;
  for (const auto& v : file.at("decode_only").as_array()) {
    const json::object& s = v.as_object();
    const std::vector<int32_t> ids = ids_of(s.at("ids"));
    const std::string_view want = text_of(s, s.contains("decoded") ? "decoded" : "text");
    ++all;
    right += tokenizer.decode(ids, false) == want;
    stream_right += streamed(tokenizer, ids, false) == want;
  }
  count(report, "tokenizer/decode_only", right, all);
  count(report, "tokenizer/decode_only streamed", stream_right, all);
}

struct Rendered {
  std::string text, error;
};

Rendered render(const ChatTemplate& chat, const json::object& c) {
  json::object extra;
  if (const auto* thinking = c.if_contains("enable_thinking"); thinking && thinking->is_bool())
    extra["enable_thinking"] = *thinking;
  const auto* tools = c.if_contains("tools");
  const auto* generate = c.if_contains("add_generation_prompt");
  const auto out =
      chat.render(c.at("messages"), tools ? *tools : json::value(), generate && generate->is_bool() && generate->as_bool(), extra);
  return out.ok() ? Rendered{out->text, ""} : Rendered{"", out.status().message()};
}

void check_chats(const std::string& folder, const Tokenizer& tokenizer, Report& report) {
  const auto file = load(folder + "/chats.json");
  if (!file.ok()) return report.check("tokenizer/chats", false, file.status().to_string());
  const auto a = ChatTemplate::load(folder);
  const auto b_source = read_small_file(folder + "/chat_template_b.jinja", size_t(1) << 20);
  if (!a.ok() || !b_source.ok())
    return report.check("tokenizer/chats", false, (a.ok() ? b_source.status() : a.status()).to_string());
  const auto b = ChatTemplate::parse(*b_source);
  if (!b.ok()) return report.check("tokenizer/chats", false, b.status().to_string());
  const json::array& cases =
      file->is_array() ? file->as_array() : file->at(file->as_object().contains("chats") ? "chats" : "cases").as_array();
  size_t right = 0, ids_right = 0, errors = 0, errors_right = 0;
  for (const auto& v : cases) {
    const json::object& c = v.as_object();
    const Rendered r = render(text_of(c, "template") == "b" ? *b : *a, c);
    if (c.contains("error") && !c.at("error").is_null()) {
      ++errors;
      errors_right += r.error.find(text_of(c, "error")) != std::string::npos;
      continue;
    }
    const bool same = r.error.empty() && r.text == text_of(c, "rendered");
    right += same;
    ids_right += same && tokenizer.encode(r.text, true) == ids_of(c.at("ids"));
    if (!same) report.check("tokenizer/chats rendering", false, r.error.empty() ? "text differs" : r.error);
  }
  count(report, "tokenizer/chats rendered", right, cases.size() - errors);
  count(report, "tokenizer/chats ids", ids_right, cases.size() - errors);
  count(report, "tokenizer/chats expected errors", errors_right, errors);
}

}  // namespace

void check_tokenizer(const OracleOptions& o, Report& report) {
  if (!o.wants("tokenizer")) return;
  const std::string folder = o.folder + "/tokenizer";
  const auto tokenizer = Tokenizer::load(folder);
  if (!tokenizer.ok()) return report.check("tokenizer", false, tokenizer.status().to_string());
  const auto strings = load(folder + "/strings.json");
  if (!strings.ok()) return report.check("tokenizer/strings", false, strings.status().to_string());
  check_strings(*tokenizer, strings->as_object(), report);
  check_decode_only(*tokenizer, strings->as_object(), report);
  check_chats(folder, *tokenizer, report);
}

}  // namespace sluice
