#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <functional>
#include <random>

#include "io/json.h"
#include "tests/support/temp_dir.h"
#include "text/bpe.h"
#include "text/detokenizer.h"

namespace sluice {
namespace {

namespace json = boost::json;

const std::string kOracle = SLUICE_TEST_DATA "/oracles/tokenizer";

std::string read_file(const std::string& path) {
  const auto text = read_small_file(path, Tokenizer::kMaxFileBytes);
  EXPECT_TRUE(text.ok()) << text.status().to_string();
  return text.ok() ? *text : std::string();
}

json::value read_json(const std::string& path) { return parse_json(read_file(path), path).value(); }

const Tokenizer& oracle_tokenizer() {
  static const Tokenizer tokenizer = Tokenizer::load(kOracle).value();
  return tokenizer;
}

std::vector<int32_t> ids_of(const json::value& v) {
  std::vector<int32_t> ids;
  for (const json::value& id : v.as_array()) ids.push_back(int32_t(id.as_int64()));
  return ids;
}

std::string stream(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip_special) {
  Detokenizer detokenizer(tokenizer, skip_special);
  std::string text;
  for (const int32_t id : ids) text += detokenizer.push(id);
  return text + detokenizer.finish();
}

TEST(Tokenizer, OracleStrings) {
  const Tokenizer& t = oracle_tokenizer();
  const json::value file = read_json(kOracle + "/strings.json");
  EXPECT_EQ(file.at("strings").as_array().size(), 400u);
  for (const json::value& s : file.at("strings").as_array()) {
    const std::string text(s.at("text").as_string());
    const std::vector<int32_t> ids = t.encode(text, true);
    EXPECT_EQ(ids, ids_of(s.at("ids"))) << text;
    EXPECT_EQ(t.decode(ids, false), std::string(s.at("decoded").as_string()));
    EXPECT_EQ(t.decode(ids, true), std::string(s.at("decoded_skip_special").as_string()));
    EXPECT_EQ(stream(t, ids, true), std::string(s.at("decoded_skip_special").as_string()));
  }
}

TEST(Tokenizer, OracleDecodeOnly) {
  const json::value file = read_json(kOracle + "/strings.json");
  EXPECT_EQ(file.at("decode_only").as_array().size(), 200u);
  for (const json::value& s : file.at("decode_only").as_array()) {
    EXPECT_EQ(oracle_tokenizer().decode(ids_of(s.at("ids")), false), std::string(s.at("decoded").as_string()));
    EXPECT_EQ(stream(oracle_tokenizer(), ids_of(s.at("ids")), false), std::string(s.at("decoded").as_string()));
  }
}

TEST(Tokenizer, DemoModel) {
  const auto t = Tokenizer::load(SLUICE_SOURCE_DIR "/demo/model");
  ASSERT_TRUE(t.ok()) << t.status().to_string();
  EXPECT_EQ(t->vocab_size(), 2048);
  EXPECT_EQ(t->eos_id(), t->token_id("<|im_end|>"));
  EXPECT_EQ(t->pad_id(), t->token_id("<|endoftext|>"));
  EXPECT_EQ(t->bos_id(), std::nullopt);
  const std::string text = "Anna has 12 apples.\n\nShe eats 3 of them; how many are left? \xE2\x82\xAC";
  EXPECT_EQ(t->decode(t->encode(text, false), false), text);
}

TEST(Tokenizer, UserTextNeverBecomesAnAddedToken) {
  const Tokenizer& t = oracle_tokenizer();
  ASSERT_EQ(t.added_tokens().size(), 26u);
  for (const AddedToken& token : t.added_tokens()) {
    EXPECT_EQ(t.encode(token.content, true), std::vector<int32_t>{token.id});
    for (const std::string& text : {token.content, "a" + token.content + "b", token.content + token.content}) {
      const std::vector<int32_t> ids = t.encode(text, false);
      for (const int32_t id : ids)
        for (const AddedToken& other : t.added_tokens()) EXPECT_NE(id, other.id) << text;
      EXPECT_EQ(t.decode(ids, true), text);
    }
  }
}

TEST(Tokenizer, OnlyTrustedSpansHoldAddedTokens) {
  const Tokenizer& t = oracle_tokenizer();
  const int32_t start = *t.token_id("<|im_start|>"), end = *t.token_id("<|im_end|>");
  const auto count = [&](std::vector<Tokenizer::Span> spans, int32_t id) {
    const std::vector<int32_t> ids = t.encode(spans);
    return std::count(ids.begin(), ids.end(), id);
  };
  EXPECT_EQ(count({{"<|im_start|>user\n", true}, {"hi<|im_end|>", false}, {"<|im_end|>\n", true}}, end), 1);
  EXPECT_EQ(count({{"<|im_", true}, {"start|>", false}}, start), 0);
  EXPECT_EQ(count({{"<|im_", false}, {"start|>", true}}, start), 0);
  EXPECT_EQ(count({{"<|im_", true}, {"start|>", true}}, start), 1);
  EXPECT_EQ(count({{"<|im_", true}, {"", false}, {"start|>", true}}, start), 0);
}

TEST(Tokenizer, SpansGiveTheIdsOfTheWholeText) {
  const Tokenizer& t = oracle_tokenizer();
  std::mt19937 random(1);
  const json::value file = read_json(kOracle + "/strings.json");
  for (const json::value& s : file.at("strings").as_array()) {
    const std::string user(s.at("text").as_string());
    if (t.encode(user, true) != t.encode(user, false)) continue;  // it spells an added token
    const std::string before = "<|im_start|>user\ne", after = "\xCC\x81<|im_end|>\n<think> ";
    const size_t cut = user.empty() ? 0 : random() % user.size();  // may cut a character
    const Tokenizer::Span spans[] = {
        {before, true}, {std::string_view(user).substr(0, cut), false}, {std::string_view(user).substr(cut), false}, {after, true}};
    EXPECT_EQ(t.encode(spans), t.encode(before + user + after, true)) << user;
  }
}

TEST(Tokenizer, BadUtf8BecomesReplacementCharacters) {
  const Tokenizer& t = oracle_tokenizer();
  const std::pair<std::string, std::string> cases[] = {
      {"a\xFFz", "a\uFFFDz"},
      {"\xC0\xAF", "\uFFFD\uFFFD"},                      // over-long
      {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},            // surrogate
      {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},  // beyond U+10FFFF
      {"\xE2\x82", "\uFFFD"},                            // cut off: one part
      {"\xF0\x9F\x98x", "\uFFFDx"},
      {std::string("\0x", 2), std::string("\0x", 2)},
      {"\xEF\xBB\xBFx", "\xEF\xBB\xBFx"},  // a byte order mark is text
  };
  for (const auto& [bad, good] : cases) EXPECT_EQ(t.encode(bad, false), t.encode(good, false)) << good;
  const Tokenizer::Span halves[] = {{"\xE2\x82", true}, {"\xAC", true}}, strangers[] = {{"\xE2\x82", true}, {"\xAC", false}};
  EXPECT_EQ(t.encode(halves), t.encode("\xE2\x82\xAC", false));
  EXPECT_EQ(t.encode(strangers), t.encode("\xE2\x82\xAC", false));
}

TEST(Tokenizer, LongInputsRoundTrip) {
  const Tokenizer& t = oracle_tokenizer();
  std::mt19937 random(2);
  std::string letters, marks = "a";
  for (int i = 0; i < 1 << 20; ++i) letters += char('a' + random() % 26);
  for (int i = 0; i < 100000; ++i) marks += "\xCC\x81";
  for (const std::string& text : {std::string(1 << 20, 'a'), letters, std::string(128 << 10, ' '), std::string(1 << 20, '\n')})
    EXPECT_TRUE(t.decode(t.encode(text, true), false) == text) << text[0];
  EXPECT_TRUE(t.decode(t.encode(marks, true), false) == "\xC3\xA1" + marks.substr(3));
  std::string mixed = "x", ordered = "x";  // classes 230 and 220 in turn: 220 goes first
  for (int i = 0; i < 100000; ++i) mixed += "\xCC\x81\xCC\xA3";
  for (int i = 0; i < 100000; ++i) ordered += "\xCC\xA3";
  for (int i = 0; i < 100000; ++i) ordered += "\xCC\x81";
  EXPECT_TRUE(t.decode(t.encode(mixed, true), false) == t.decode(t.encode(ordered, true), false));
}

// Fault 11: work that grew with the square of the length would take hours here.
TEST(Tokenizer, HostilePromptsTakeLinearTime) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr size_t kShort = 1 << 18, kLong = 1 << 20;
#else
  constexpr size_t kShort = 1 << 20, kLong = 8 << 20;  // the latter: a body's limit
#endif
  const auto repeated = [](std::string_view unit, size_t bytes) {
    std::string text;
    while (text.size() < bytes) text += unit;
    return text + "x";
  };
  const Tokenizer demo = Tokenizer::load(SLUICE_SOURCE_DIR "/demo/model").value();
  for (const Tokenizer* t : {&oracle_tokenizer(), &demo}) {
    for (const char* unit :
         {" ", "\n", "\t", " \n", "1", "!", "'s", "\xCC\x81", "a\xCC\x81", "\xE5\xA4\xA7", "\xF0\x9F\x87\xA9", "\xC2\xA0"})
      EXPECT_EQ(t->token_bytes(t->encode(std::string_view(repeated(unit, kShort)), false).back()).back(), 'x') << unit;
    EXPECT_EQ(t->token_bytes(t->encode(std::string_view(repeated("a", kLong)), false).back()).back(), 'x');
  }
}

TEST(Tokenizer, IdsOutOfRange) {
  const Tokenizer& t = oracle_tokenizer();
  for (const int32_t id : {-1, int32_t(t.vocab_size()), INT32_MAX, INT32_MIN}) {
    EXPECT_EQ(t.token_bytes(id), "");
    EXPECT_FALSE(t.has(id));
    EXPECT_FALSE(t.is_special(id));
    EXPECT_EQ(t.decode(std::vector<int32_t>{id}, false), "");
  }
}

// A tokenizer.json with a token for each byte (id = byte), the given further tokens from id 256, and merges.
json::object small_file(const std::vector<std::pair<std::string, std::string>>& merges = {}) {
  json::object vocab;
  for (int b = 0, next = 256; b < 256; ++b) {
    const bool prints = (b > 0x20 && b < 0x7F) || (b > 0xA0 && b != 0xAD);
    const int code = prints ? b : next++;
    const std::string spelled =
        code < 0x80 ? std::string(1, char(code)) : std::string{char(0xC0 | code >> 6), char(0x80 | (code & 0x3F))};
    vocab[spelled] = b;
  }
  json::array merge_list;
  for (const auto& [left, right] : merges) {
    vocab.emplace(left + right, int64_t(vocab.size()));
    merge_list.push_back(json::value{left, right});
  }
  const json::value byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  return {{"added_tokens", json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merge_list}}}};
}

json::value added(int64_t id, const char* content, const json::object& flags = {}) {
  json::object token = {{"id", id}, {"content", content}};
  for (const auto& flag : flags) token[flag.key()] = flag.value();
  return token;
}

Result<Tokenizer> parse(const json::object& file) { return Tokenizer::parse(json::serialize(file), "t.json"); }
std::string error(const json::object& file) {  // without the position, which is that of this test's own spelling
  const std::string message = parse(file).status().message();
  return message.substr(0, message.find(" (at byte"));
}

TEST(Tokenizer, MergesInBothForms) {
  json::object file = small_file({{"a", "b"}, {"ab", "c"}});
  const std::vector<int32_t> wanted = {257, 'd'};
  EXPECT_EQ(parse(file).value().encode("abcd", true), wanted);
  file["model"].as_object()["merges"] = {"#version: 0.2", "a b", "ab c"};
  EXPECT_EQ(parse(file).value().encode("abcd", true), wanted);
}

TEST(Tokenizer, IgnoreMergesTakesWholePieces) {
  json::object file = small_file({{"a", "b"}, {"b", "c"}, {"a", "bc"}});
  EXPECT_EQ(parse(file).value().encode("abc", true), (std::vector<int32_t>{256, 'c'}));
  file["model"].as_object()["ignore_merges"] = true;
  EXPECT_EQ(parse(file).value().encode("abc", true), (std::vector<int32_t>{258}));
  EXPECT_EQ(parse(file).value().encode("abca", true), (std::vector<int32_t>{256, 'c', 'a'}));
}

// Merges lead to the text of an added token, which ordinary text still never becomes.
TEST(Tokenizer, MergesNeverMakeAnAddedToken) {
  for (const bool ignore_merges : {false, true}) {
    json::object file = small_file({{"<", "x"}, {"<x", ">"}});
    file["added_tokens"] = {added(257, "<x>")};
    file["model"].as_object()["ignore_merges"] = ignore_merges;
    const Tokenizer t = parse(file).value();
    EXPECT_EQ(t.encode("<x>", true), (std::vector<int32_t>{257}));
    EXPECT_EQ(t.encode("<x>", false), (std::vector<int32_t>{256, '>'}));
  }
}

TEST(Tokenizer, FlagsOfAddedTokens) {
  json::object file = small_file();
  file["normalizer"] = {{"type", "NFC"}};
  file["added_tokens"] = {added(300, "<l>", {{"lstrip", true}}),           added(301, "<r>", {{"rstrip", true}}),
                          added(302, "one", {{"single_word", true}}),      added(303, "<l>x"),
                          added(304, "\xC3\xA9!", {{"normalized", true}}), added(305, "\xC3\xA8!", {{"normalized", false}})};
  const Tokenizer t = parse(file).value();
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(t.vocab_size(), 306);
  EXPECT_EQ(t.encode("a \xE2\x80\x83<l> b", true), (Ids{'a', 300, ' ', 'b'}));
  EXPECT_EQ(t.encode("a <r> \nb", true), (Ids{'a', ' ', 301, 'b'}));
  EXPECT_EQ(t.encode("<r> <l>", true), (Ids{301, 300}));
  EXPECT_EQ(t.encode("<l>x<l>", true), (Ids{303, 300}));
  EXPECT_EQ(t.encode("one,one", true), (Ids{302, ',', 302}));
  EXPECT_EQ(t.encode("oney", true), (Ids{'o', 'n', 'e', 'y'}));
  EXPECT_EQ(t.encode("\xC3\xA9one", true), (Ids{0xC3, 0xA9, 'o', 'n', 'e'}));
  EXPECT_EQ(t.encode("e\xCC\x81!", true), (Ids{304}));
  EXPECT_EQ(t.encode("e\xCC\x80!", true), (Ids{0xC3, 0xA8, '!'}));
  const Tokenizer::Span mixed[] = {{"e\xCC\x81!", true}, {"e", false}, {"\xCC\x81!", true}};
  EXPECT_EQ(t.encode(mixed), (Ids{304, 0xC3, 0xA9, '!'}));
}

TEST(Tokenizer, ManyAddedTokens) {
  std::string text = json::serialize(small_file());
  std::string list;
  const int count = 200000;
  for (int i = 0; i < count; ++i)
    list += (i ? "," : "") + std::string(R"({"id":)") + std::to_string(300 + i) + R"(,"content":"<t)" + std::to_string(i) + ">\"}";
  text.replace(text.find("\"added_tokens\":[]"), 17, "\"added_tokens\":[" + list + "]");
  const auto t = Tokenizer::parse(text, "t.json");
  ASSERT_TRUE(t.ok()) << t.status().to_string();
  EXPECT_EQ(t->encode("<t0><t199999><t7", true), (std::vector<int32_t>{300, 300 + count - 1, '<', 't', '7'}));
}

TEST(Tokenizer, ConfigNamesTokens) {
  json::object file = small_file({{"a", "b"}});
  file["added_tokens"] = {added(300, "<e>", {{"special", true}})};
  const std::string config = R"({"eos_token": "<e>", "bos_token": {"content": "<b>"}, "pad_token": "ab", "unk_token": null,
      "added_tokens_decoder": {"301": {"content": "<b>", "special": true}, "300": {"content": "<e>", "special": true}}})";
  const auto t = Tokenizer::parse(json::serialize(file), "t.json", config, "c.json");
  ASSERT_TRUE(t.ok()) << t.status().to_string();
  EXPECT_EQ(t->eos_id(), 300);
  EXPECT_EQ(t->bos_id(), 301);
  EXPECT_EQ(t->pad_id(), 256);
  EXPECT_TRUE(t->is_special(256));
  EXPECT_EQ(t->encode("<b>ab", true), (std::vector<int32_t>{301, 256}));
  const auto error_of = [&](const char* bad) {
    return Tokenizer::parse(json::serialize(file), "t.json", bad, "c.json").status().message();
  };
  EXPECT_EQ(error_of(R"({"added_tokens_decoder": {"x": {}}})"), "c.json: added_tokens_decoder has the name 'x', wanted an id");
  EXPECT_EQ(error_of(R"({"added_tokens_decoder": {"1\n\u00e9": {}}})"),
            "c.json: added_tokens_decoder has the name '1\\x0a\\xc3\\xa9', wanted an id");
}

// reliability: each broken file is refused, and the message says where it is wrong.
TEST(Tokenizer, RefusesBrokenFiles) {
  const auto with = [](const char* field, const json::value& value) {
    json::object file = small_file({{"a", "b"}});
    file[field] = value;
    return error(file);
  };
  const auto with_model = [](const char* field, const json::value& value) {
    json::object file = small_file({{"a", "b"}});
    file["model"].as_object()[field] = value;
    return error(file);
  };
  const auto with_token = [](const char* token, const json::value& id) {
    json::object file = small_file();
    file["model"].as_object()["vocab"].as_object()[token] = id;
    return error(file);
  };
  const auto with_split = [&](const char* pattern) {
    return with("pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}});
  };

  EXPECT_EQ(with_model("merges", json::array{json::array{"a", "zz"}}),
            "t.json: model.merges[0] joins 'a' and 'zz', but 'zz' is not in model.vocab; wanted all three there");
  EXPECT_EQ(with_model("merges", json::array{"a b c"}),
            "t.json: model.merges[0] is 'a b c', wanted \"left right\" or [\"left\", \"right\"]");
  EXPECT_EQ(with_model("merges", json::array{"b a"}),
            "t.json: model.merges[0] joins 'b' and 'a', but 'ba' is not in model.vocab; wanted all three there");
  EXPECT_EQ(with_token("new", 97), "t.json: model.vocab: token 'new' has id 97, which is also the id of 'a'; wanted each id once");
  EXPECT_EQ(with_token("new", -1), "t.json: model.vocab: token 'new' has id -1, wanted 0 to 4194303");
  EXPECT_EQ(with_token("new", int64_t(1) << 31), "t.json: model.vocab: token 'new' has id 2147483648, wanted 0 to 4194303");
  EXPECT_EQ(with_token("new", UINT64_MAX),
            "t.json: model.vocab: token 'new' has id 18446744073709551615, wanted an integer from 0 to 4194303");
  EXPECT_EQ(with_token("new", "7"), "t.json: model.vocab: token 'new' has id '7', wanted an integer from 0 to 4194303");
  EXPECT_EQ(with_token("a", nullptr), "t.json: model.vocab: token 'a' has id null, wanted an integer from 0 to 4194303");
  EXPECT_EQ(with_model("type", "Unigram"), "t.json: model.type is 'Unigram', wanted BPE");
  EXPECT_EQ(with_model("dropout", 0.1), "t.json: model.dropout is 1E-1, wanted null: ids must not be random");
  EXPECT_EQ(with_model("merges", nullptr), "t.json: model.merges is null, wanted an array");
  EXPECT_EQ(with("normalizer", {{"type", "NFKC"}}), "t.json: normalizer.type is 'NFKC', wanted NFC, or a Sequence of it");
  EXPECT_EQ(with("pre_tokenizer", {{"type", "Metaspace"}}),
            "t.json: pre_tokenizer.type is 'Metaspace', wanted Sequence, Split or ByteLevel");
  EXPECT_EQ(with("pre_tokenizer", nullptr),
            "t.json: pre_tokenizer has no ByteLevel step, wanted one: only byte-level models are supported");
  EXPECT_EQ(with("decoder", {{"type", "Fuse"}}), "t.json: decoder.type is 'Fuse', wanted ByteLevel");
  EXPECT_EQ(with_split("a(b"),
            "t.json: pre_tokenizer.pattern.Regex: pattern 'a(b' does not compile: missing closing parenthesis at byte 3");
  EXPECT_EQ(with_split("[a[b]]"),
            "t.json: pre_tokenizer.pattern.Regex: pattern '[a[b]]' has a class within a class, which is not supported, at byte 2");
  EXPECT_EQ(with("added_tokens", json::array{added(97, "x")}),
            "t.json: added_tokens: token 'x' has id 97, which is also the id of 'a'; wanted each id once");
  EXPECT_EQ(with("added_tokens", json::array{added(300, "a")}),
            "t.json: added_tokens: token 'a' has id 300 and id 97, wanted each token once");
  EXPECT_EQ(with("added_tokens", json::array{added(300, "<a>"), added(300, "<b>")}),
            "t.json: added_tokens: tokens '<a>' and '<b>' both have id 300, wanted each id once");
  EXPECT_EQ(with("added_tokens", json::array{added(int64_t(1) << 40, "<a>")}),
            "t.json: added_tokens[0].id is 1099511627776, wanted 0 to 4194303");
  EXPECT_EQ(with("added_tokens", json::array{json::object{{"id", 300}}}),
            "t.json: added_tokens[0].content is missing, wanted a string");
  json::object no_byte = small_file();
  no_byte["model"].as_object()["vocab"].as_object().erase("Q");
  EXPECT_EQ(error(no_byte), "t.json: model.vocab has no token for the byte 81, wanted one for each byte of UTF-8");
  EXPECT_EQ(Tokenizer::parse("{\"model\": {", "t.json").status().message(), "t.json: not valid JSON: incomplete JSON at byte 11");
  EXPECT_EQ(Tokenizer::parse("[]", "t.json").status().message(), "t.json is an array, wanted an object");
  EXPECT_EQ(Tokenizer::load("/nowhere").status().code(), Code::kNotFound);
}

// A change to the small file, and what it is refused with behind "t.json".
struct Refusal {
  std::function<void(json::object&)> change;
  const char* message;
};

void expect_refusals(std::initializer_list<Refusal> refusals) {
  for (const Refusal& r : refusals) {
    json::object file = small_file({{"a", "b"}});
    r.change(file);
    EXPECT_EQ(error(file), std::string("t.json") + r.message);
  }
}

std::function<void(json::object&)> set(const char* field, const json::value& value) {
  return [=](json::object& file) { file[field] = value; };
}
std::function<void(json::object&)> set_in_model(const char* field, const json::value& value) {
  return [=](json::object& file) { file["model"].as_object()[field] = value; };
}
std::function<void(json::object&)> set_merge(const json::value& merge) { return set_in_model("merges", json::array{merge}); }
std::function<void(json::object&)> set_id(const json::value& id) {
  return [=](json::object& file) { file["model"].as_object()["vocab"].as_object()["new"] = id; };
}

TEST(Tokenizer, RefusesFieldsOfTheWrongType) {
  constexpr char kMerge[] = ", wanted \"left right\" or [\"left\", \"right\"]", kId[] = ", wanted an integer from 0 to 4194303";
  const json::value type_only = {{"type", 5}};
  expect_refusals({
      {[](json::object& f) { f.erase("model"); }, ": model is missing, wanted an object"},
      {set("model", 5), ": model is 5, wanted an object"},
      {[](json::object& f) { f["model"].as_object().erase("vocab"); },
       ": model.vocab is missing, wanted an object of tokens and ids"},
      {[](json::object& f) { f["model"].as_object().erase("merges"); }, ": model.merges is missing, wanted an array"},
      {set_in_model("vocab", 5), ": model.vocab is 5, wanted an object of tokens and ids"},
      {set_in_model("vocab", json::array()), ": model.vocab is an array, wanted an object"},
      {set_in_model("merges", json::object()), ": model.merges is an object, wanted an array"},
      {set_in_model("type", 7), ": model.type is 7, wanted a string"},
      {set_in_model("dropout", "x"), ": model.dropout is 'x', wanted null: ids must not be random"},
      {set_in_model("ignore_merges", 1), ": model.ignore_merges is 1, wanted true or false"},
      {set_in_model("continuing_subword_prefix", 1), ": model.continuing_subword_prefix is 1, wanted a string"},
      {set_in_model("end_of_word_suffix", "</w>"),
       ": model.end_of_word_suffix is '</w>', wanted none: only byte-level models are supported"},
      {set("normalizer", 5), ": normalizer is 5, wanted an object"},
      {set("normalizer", type_only), ": normalizer.type is 5, wanted a string"},
      {set("normalizer", {{"type", "Sequence"}}), ": normalizer.normalizers is missing, wanted an array"},
      {set("normalizer", {{"type", "Sequence"}, {"normalizers", 5}}), ": normalizer.normalizers is 5, wanted an array"},
      {set("normalizer", {{"type", "Sequence"}, {"normalizers", json::array{{{"type", "NFC"}}, {{"type", "NFD"}}}}}),
       ": normalizer.normalizers[1].type is 'NFD', wanted NFC, or a Sequence of it"},
      {set("decoder", nullptr), ": decoder is null, wanted one of type ByteLevel"},
      {set("decoder", 5), ": decoder is 5, wanted an object"},
      {set("decoder", type_only), ": decoder.type is 5, wanted a string"},
      {set("added_tokens", 5), ": added_tokens is 5, wanted an array"},
      {set("added_tokens", json::array{5}), ": added_tokens[0] is 5, wanted an object"},
      {set("added_tokens", json::array{{{"id", "x"}}}), ": added_tokens[0].id is 'x', wanted an integer"},
      {set("added_tokens", json::array{added(-1, "x")}), ": added_tokens[0].id is -1, wanted 0 to 4194303"},
  });
  for (const std::string flag : {"special", "single_word", "lstrip", "rstrip", "normalized"}) {
    const std::string message = ": added_tokens[0]." + flag + " is 1, wanted true or false";
    expect_refusals({{set("added_tokens", json::array{added(300, "x", {{flag, 1}})}), message.c_str()}});
  }
  for (const auto& [value, shown] : std::initializer_list<std::pair<json::value, std::string>>{{json::object(), "an object"},
                                                                                               {json::array(), "an array"},
                                                                                               {1.5, "1.5E0"},
                                                                                               {true, "true"},
                                                                                               {false, "false"},
                                                                                               {nullptr, "null"}}) {
    const std::string id = ": model.vocab: token 'new' has id " + shown + kId;
    expect_refusals({{set_id(value), id.c_str()}});
    const bool array = value.is_array();
    const std::string merge = ": model.merges[0] " + (array ? "has 0 parts" : "is or has " + shown) + kMerge;
    expect_refusals({{set_merge(value), merge.c_str()}});
  }
  for (const auto& [value, found] :
       std::initializer_list<std::pair<json::value, std::string>>{{5, "is or has 5"},
                                                                  {UINT64_MAX, "is or has 18446744073709551615"},
                                                                  {json::array{"a"}, "has 1 parts"},
                                                                  {json::array{"a", "b", "c"}, "has 3 parts"},
                                                                  {json::array{json::array{"a"}}, "is or has an array"},
                                                                  {"ab", "is 'ab'"}}) {
    const std::string merge = ": model.merges[0] " + found + kMerge;
    expect_refusals({{set_merge(value), merge.c_str()}});
  }
  for (const std::string twice : {R"("vocab": {}, "vocab": {})", R"("merges": [], "merges": [])"}) {
    const std::string message = Tokenizer::parse(R"({"model": {)" + twice + "}}", "t.json").status().message();
    EXPECT_TRUE(message.find(" comes twice") != std::string::npos) << message;
  }
}

TEST(Tokenizer, TakesWhatChangesNothing) {
  json::object file = small_file({{"a", "b"}});
  json::object& model = file["model"].as_object();
  model["dropout"] = 0.0, model["continuing_subword_prefix"] = "", model["end_of_word_suffix"] = nullptr;
  model["byte_fallback"] = false, model["version"] = UINT64_MAX, model["weight"] = 1.5;
  model.erase("type");
  file.erase("added_tokens");
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", json::array{{{"type", "NFC"}}}}};
  const auto t = parse(file);
  ASSERT_TRUE(t.ok()) << t.status().to_string();
  EXPECT_EQ(t->encode("ab", false), (std::vector<int32_t>{256}));
  EXPECT_EQ(t->encode("e\u0301", false), t->encode("\u00e9", false));
}

TEST(Tokenizer, RefusesBadConfigs) {
  const std::string file = json::serialize(small_file({{"a", "b"}}));
  const auto with = [&](const std::string& config) { return Tokenizer::parse(file, "t.json", config, "c.json"); };
  const struct {
    const char *config, *message;
  } cases[] = {
      {"[]", "c.json is an array, wanted an object"},
      {"{", "c.json: not valid JSON: incomplete JSON at byte 1"},
      {R"({"added_tokens_decoder": 5})", "c.json: added_tokens_decoder is 5, wanted an object"},
      {R"({"added_tokens_decoder": {"7": 5}})", "c.json: added_tokens_decoder.7 is 5, wanted an object"},
      {R"({"added_tokens_decoder": {"7x": {}}})", "c.json: added_tokens_decoder has the name '7x', wanted an id"},
      {R"({"added_tokens_decoder": {"-7": {}}})", "c.json: added_tokens_decoder.-7.id is -7, wanted 0 to 4194303"},
      {R"({"added_tokens_decoder": {"301": {"content": 5}}})", "c.json: added_tokens_decoder.301.content is 5, wanted a string"},
  };
  for (const auto& c : cases) EXPECT_EQ(with(c.config).status().message(), c.message);
  for (const char* none : {R"({"eos_token": "nowhere"})", R"({"eos_token": 5})", R"({"eos_token": {"text": "a"}})"}) {
    const auto t = with(none);
    ASSERT_TRUE(t.ok()) << t.status().message();
    EXPECT_FALSE(t->eos_id()) << none;
  }
}

TEST(Tokenizer, AConfigThatIsThereMustBeReadable) {
  testing::TempDir dir;
  const std::string file = dir.write("tokenizer.json", json::serialize(small_file({{"a", "b"}})));
  EXPECT_TRUE(Tokenizer::load(dir.root()).ok());
  EXPECT_TRUE(Tokenizer::load_file(file).ok());
  EXPECT_EQ(Tokenizer::load_file(dir / "none").status().code(), Code::kNotFound);
  std::filesystem::create_directory(dir / "tokenizer_config.json");
  EXPECT_EQ(Tokenizer::load(dir.root()).status().message(),
            dir / "tokenizer_config.json" + ": is a directory, wanted a regular file");
}

// Pieces beyond a window are encoded in parts and joined; the definition is the plain loop below.
class LongPieces : public ::testing::TestWithParam<size_t> {};  // bytes of the longest token

TEST_P(LongPieces, FollowTheDefinition) {
  Vocabulary vocabulary;
  for (const char c : {'a', 'b', 'c'}) ASSERT_TRUE(vocabulary.add({&c, 1}, c).ok());
  std::mt19937 random(3);
  std::vector<int32_t> known = {'a', 'b', 'c'};
  std::vector<Merge> merges;
  for (int32_t id = 128; id < 188; ++id) {  // any two tokens, in any order, long ones of one letter too
    const int32_t left = id == 128 ? 'a' : known[random() % known.size()], right = id < 132 ? left : known[random() % known.size()];
    const std::string both = std::string(vocabulary.bytes(left)) + std::string(vocabulary.bytes(right));
    if (both.size() > GetParam() || !vocabulary.add(both, id).ok()) continue;
    merges.push_back({left, right, id});
    known.push_back(id);
  }
  std::shuffle(merges.begin() + 10, merges.end(), random);
  const Bpe bpe(vocabulary, merges, false, {});
  const auto plain = [&](const std::string& text) {
    std::vector<int32_t> ids(text.begin(), text.end());
    for (;;) {
      size_t best = SIZE_MAX, best_rank = SIZE_MAX;
      for (size_t i = 0; i + 1 < ids.size(); ++i)
        for (size_t r = 0; r < std::min(best_rank, merges.size()); ++r)
          if (merges[r].left == ids[i] && merges[r].right == ids[i + 1]) best = i, best_rank = r;
      if (best == SIZE_MAX) return ids;
      ids[best] = merges[best_rank].result;
      ids.erase(ids.begin() + ptrdiff_t(best) + 1);
    }
  };
  Bpe::Scratch scratch;
  for (const int alphabet : {1, 2, 3})
    for (const size_t length : {1, 2, 63, 64, 65, 127, 128, 129, 200, 333}) {
      std::string text;
      while (text.size() < length) text += char('a' + random() % size_t(alphabet));
      std::vector<int32_t> ids;
      bpe.encode(text, ids, scratch);
      EXPECT_EQ(ids, plain(text)) << text;
    }
}
INSTANTIATE_TEST_SUITE_P(Bpe, LongPieces, ::testing::Values(100, 1000));

// What is joined has more bytes than are merged by looking at every pair.
TEST(Bpe, TokensOfHundredsOfBytesFollowTheDefinition) {
  constexpr int32_t kLongest = 512, kJoined = 600;  // 128 + n: 2^n times a; kJoined: the longest of them and a b
  Vocabulary vocabulary;
  std::vector<Merge> merges;
  ASSERT_TRUE(vocabulary.add("a", 128).ok() && vocabulary.add("b", 'b').ok());
  int32_t id = 128;
  for (size_t n = 2; n <= kLongest; n *= 2, ++id) {
    ASSERT_TRUE(vocabulary.add(std::string(n, 'a'), id + 1).ok());
    merges.push_back({id, id, id + 1});
  }
  ASSERT_TRUE(vocabulary.add(std::string(kLongest, 'a') + "b", kJoined).ok());
  merges.push_back({id, 'b', kJoined});
  const Bpe bpe(vocabulary, merges, false, {});
  Bpe::Scratch scratch;
  for (const int32_t before : {300, 511, 512, 513, 1024, 1537})
    for (const int32_t after : {0, 1, 600}) {
      std::vector<int32_t> ids, wanted;
      const auto want = [&](int32_t letters) {
        for (int32_t n = kLongest, token = id; n > 0; n /= 2, --token)
          for (; letters >= n; letters -= n) wanted.push_back(token);
      };
      want(before);
      if (wanted.back() == id) wanted.back() = kJoined;
      else wanted.push_back('b');
      want(after);
      bpe.encode(std::string(size_t(before), 'a') + "b" + std::string(size_t(after), 'a'), ids, scratch);
      EXPECT_EQ(ids, wanted) << before << " " << after;
    }
}

}  // namespace
}  // namespace sluice
