// What is sent, and how a streamed answer is read.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <set>

#include "bench_client/answer_reader.h"
#include "bench_client/url.h"
#include "bench_client/workload.h"
#include "tests/support/temp_dir.h"

namespace sluice::bench {
namespace {

namespace json = boost::json;

std::string url(const std::string& text) {
  const auto u = parse_url(text);
  return u.ok() ? u->host + " " + u->port + " " + u->target("/v1/x") : "?";
}

TEST(Url, Forms) {
  EXPECT_EQ(url("http://a:81"), "a 81 /v1/x");
  EXPECT_EQ(url("a:81/"), "a 81 /v1/x");
  EXPECT_EQ(url("http://a"), "a 80 /v1/x");
  EXPECT_EQ(url("http://a/v1/"), "a 80 /v1/x");
  EXPECT_EQ(url("http://a/x/y"), "a 80 /x/y/v1/x");
  EXPECT_EQ(url("http://[::1]:8080"), "::1 8080 /v1/x");
  for (const char* bad :
       {"", "http://", "https://a", "ftp://a", "a:0", "a:65536", "a:", "a:8x", "[::1", "[::1]8", "a b", "u@a", "a?x"})
    EXPECT_EQ(url(bad), "?") << bad;
}

std::string body(const WorkloadOptions& o, int64_t session, int64_t turn = 0) {
  json::array history;
  Workload w(o);
  std::string last;
  for (int64_t t = 0; t <= turn; ++t) {
    last = w.request(session, t, history).body;
    history.push_back(json::object{{"role", "assistant"}, {"content", "yes"}});
  }
  return last;
}

json::array prompt(const WorkloadOptions& o, int64_t session) {
  return json::parse(body(o, session)).as_object().at("prompt").as_array();
}

TEST(Workload, RandomTokens) {
  const WorkloadOptions o{.model = "m", .input_len = 300, .output_len = 7, .vocab_size = 500, .seed = 4};
  const json::object r = json::parse(body(o, 3)).as_object();
  EXPECT_EQ(r.at("model"), "m");
  EXPECT_EQ(r.at("max_tokens"), 7);
  EXPECT_EQ(r.at("ignore_eos"), true);
  EXPECT_EQ(r.at("stream"), true);
  EXPECT_EQ(r.at("stream_options"), (json::object{{"include_usage", true}}));
  ASSERT_EQ(r.at("prompt").as_array().size(), 300u);
  std::set<int64_t> seen;
  for (const json::value& id : r.at("prompt").as_array()) {
    seen.insert(id.as_int64());
    EXPECT_TRUE(id.as_int64() >= 0 && id.as_int64() < 500);
  }
  EXPECT_GT(seen.size(), 150u);  // random draws of 484: 223 expected
}

TEST(Workload, SeedDecides) {
  WorkloadOptions o{.model = "m", .input_len = 20, .seed = 4};
  EXPECT_EQ(body(o, 3), body(o, 3));
  EXPECT_NE(prompt(o, 3), prompt(o, 4));
  const json::array before = prompt(o, 3);
  o.seed = 5;
  EXPECT_NE(prompt(o, 3), before);
}

TEST(Workload, SharedPrefixes) {
  const WorkloadOptions o{.model = "m", .input_len = 8, .prefix_len = 40, .num_prefixes = 3, .vocab_size = 100000};
  const auto part = [&](int64_t session, int64_t begin, int64_t end) {
    const json::array p = prompt(o, session);
    EXPECT_EQ(p.size(), 48u);
    return json::array(p.begin() + begin, p.begin() + end);
  };
  EXPECT_EQ(part(0, 0, 40), part(3, 0, 40));
  EXPECT_NE(part(0, 0, 40), part(1, 0, 40));
  EXPECT_NE(part(0, 40, 48), part(3, 40, 48));
}

TEST(Workload, Conversations) {
  const WorkloadOptions o{.model = "m", .input_len = 5, .prefix_len = 9, .turns = 3, .seed = 2};
  const json::array first = json::parse(body(o, 1)).at("messages").as_array();
  const json::array third = json::parse(body(o, 1, 2)).at("messages").as_array();
  ASSERT_EQ(first.size(), 2u);
  ASSERT_EQ(third.size(), 6u);
  const char* roles[] = {"system", "user", "assistant", "user", "assistant", "user"};
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(third[i].at("role"), roles[i]);
  EXPECT_EQ(third[0], first[0]);
  EXPECT_EQ(third[1], first[1]);  // a turn begins with the one before, byte for byte
  EXPECT_EQ(third[2].at("content"), "yes");
  EXPECT_NE(third[3], third[1]);
}

TEST(Workload, Rows) {
  const testing::TempDir dir;
  const std::string path = dir.write("p.jsonl",
                                     "\"hello\"\n\n[1,2,3]\n{\"prompt\":\"x\",\"output_len\":9,\"temperature\":0.5}\n"
                                     "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":3}\n");
  auto rows = read_prompts(path);
  ASSERT_TRUE(rows.ok()) << rows.status().to_string();
  ASSERT_EQ(rows->size(), 4u);
  const WorkloadOptions o{.model = "m", .output_len = 50, .rows = rows.value(), .extra = {{"temperature", 1}}};
  json::array unused;
  const Workload w(o);
  EXPECT_EQ(json::parse(w.request(0, 0, unused).body).at("prompt"), "hello");
  EXPECT_EQ(json::parse(w.request(4, 0, unused).body).at("prompt"), "hello");  // again from the first
  EXPECT_EQ(w.request(1, 0, unused).input_tokens, 3);
  const json::value third = json::parse(w.request(2, 0, unused).body);
  EXPECT_EQ(third.at("max_tokens"), 9);
  EXPECT_EQ(third.at("temperature"), 1);  // --extra-body has the last word
  EXPECT_FALSE(third.as_object().contains("output_len"));
  EXPECT_EQ(w.request(3, 0, unused).path, "/v1/chat/completions");
  for (const char* bad : {"", "{}", "3", "{\"prompt\":\"a\",\"messages\":[]}", "{\"prompt\":"}) {
    const auto r = read_prompts(dir.write("bad.jsonl", std::string("\"ok\"\n") + bad + "\n"));
    EXPECT_EQ(r.ok(), *bad == '\0') << bad;
    if (r.ok()) continue;
    EXPECT_NE(r.status().message().find("bad.jsonl:2"), std::string::npos) << r.status().message();
  }
  EXPECT_FALSE(read_prompts(dir.write("none.jsonl", "\n")).ok());
  EXPECT_FALSE(read_prompts(dir / "absent").ok());
}

// Reads a stream in pieces that each come a second after the one before.
RequestRecord read(const std::vector<std::string>& pieces, bool chat = false, std::string* text = nullptr) {
  RequestRecord r;
  AnswerReader reader(chat, r);
  double now = 0;
  for (const std::string& p : pieces) reader.feed(p, ++now);
  reader.finish(++now);
  if (text) *text = reader.text();
  return r;
}

std::string piece(const std::string& text, const std::string& reason = "null") {
  return "data: {\"choices\":[{\"index\":0,\"text\":\"" + text + "\",\"finish_reason\":" + reason + "}]}\n\n";
}
const std::string kUsage =
    "data: "
    "{\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":3,\"prompt_tokens_details\":{\"cached_tokens\":8}}}\n\n";
const std::string kDone = "data: [DONE]\n\n";

TEST(Answer, TimesAndUsage) {
  std::string text;
  const RequestRecord r =
      read({piece("a"), ": ping\n\n", piece("b"), piece(""), piece("", "\"length\""), kUsage, kDone}, false, &text);
  EXPECT_TRUE(r.ok()) << r.error << r.detail;
  EXPECT_EQ(text, "ab");
  EXPECT_EQ(r.first, 1);
  EXPECT_EQ(r.last, 4);
  EXPECT_EQ(r.end, 8);
  EXPECT_EQ(r.gaps, (std::vector<float>{2, 1}));  // a token without text is one
  EXPECT_EQ(r.input_tokens, 12);
  EXPECT_EQ(r.output_tokens, 3);
  EXPECT_EQ(r.cached_tokens, 8);
  EXPECT_TRUE(r.counted_by_server);
}

TEST(Answer, ChatCountsNoRole) {
  const auto delta = [](const std::string& d) {
    return "data: {\"choices\":[{\"delta\":" + d + ",\"finish_reason\":null}]}\r\n\r\n";
  };
  std::string text;
  const RequestRecord r = read({delta("{\"role\":\"assistant\",\"content\":\"\"}"), delta("{\"reasoning_content\":\"hm\"}"),
                                delta("{\"content\":\"yes\"}"), delta("{\"tool_calls\":[{\"index\":0}]}"), kDone},
                               true, &text);
  EXPECT_TRUE(r.ok()) << r.error << r.detail;
  EXPECT_EQ(text, "yes");
  EXPECT_EQ(r.first, 2);
  EXPECT_EQ(r.gaps, (std::vector<float>{1, 1}));
  EXPECT_EQ(r.output_tokens, 3);
  EXPECT_FALSE(r.counted_by_server);
}

TEST(Answer, SplitAnywhere) {
  const std::string whole = "\xEF\xBB\xBF: hi\r\n\r\nevent: x\r\n" + piece("\xE2\x82\xAC") +
                            "data:{\"choices\":\rdata: [{\"text\":\"b\"}]}\r\r" + piece("c", "\"stop\"") + kUsage + kDone;
  for (size_t cut = 0; cut <= whole.size(); ++cut) {
    std::string text;
    const RequestRecord r = read({whole.substr(0, cut), whole.substr(cut)}, false, &text);
    EXPECT_TRUE(r.ok()) << cut << r.error << r.detail;
    EXPECT_EQ(text,
              "\xE2\x82\xAC"
              "bc")
        << cut;
    EXPECT_EQ(r.gaps.size(), 2u) << cut;
    EXPECT_EQ(r.output_tokens, 3) << cut;
  }
}

TEST(Answer, Faults) {
  const auto kind = [](const std::vector<std::string>& pieces) { return read(pieces).error; };
  EXPECT_EQ(kind({piece("a")}), kCutShort);
  EXPECT_EQ(kind({piece("a"), "data: {\"cho"}), kCutShort);
  EXPECT_EQ(kind({piece("a", "\"stop\"")}), "");  // ended, if without [DONE]
  EXPECT_EQ(kind({piece("a"), "data: {nonsense}\n\n", kDone}), kMalformed);
  EXPECT_EQ(kind({"data: 3\n\n", kDone}), kMalformed);
  EXPECT_EQ(kind({"data: {\"choices\":[1]}\n\n", kDone}), kMalformed);
  EXPECT_EQ(kind({kDone}), kNoOutput);
  EXPECT_EQ(kind({piece("", "\"stop\""), kDone}), kNoOutput);
  EXPECT_EQ(kind({std::string(SseReader::kMaxEvent + 1, 'x')}), kMalformed);
  const RequestRecord r = read({piece("a"), "data: {\"error\":{\"message\":\"out of pages\"}}\n\n"});
  EXPECT_EQ(r.error, kServerError);
  EXPECT_EQ(r.detail, "out of pages");
  // Tokens without text, as the server's count says: not an error.
  EXPECT_EQ(kind({piece("", "\"length\""), kUsage, kDone}), "");
}

// HTML Standard, 9.2.5: one byte order mark, at the stream's start.
TEST(Sse, ByteOrderMarkOnlyInFront) {
  const std::string mark = "\xEF\xBB\xBF";
  for (const size_t step : {size_t(1), size_t(100)}) {
    SseReader reader;
    std::string events;
    const std::string bytes = mark + "data: a\n\n" + mark + "data: b\ndata: c\n\n";
    for (size_t at = 0; at < bytes.size(); at += step)
      ASSERT_TRUE(reader.feed(std::string_view(bytes).substr(at, step), [&](std::string_view data) { (events += data) += "|"; }));
    EXPECT_EQ(events, "a|c|") << step;  // the second mark is part of the name of a field that nobody knows
  }
}

}  // namespace
}  // namespace sluice::bench
