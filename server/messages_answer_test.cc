// Answers that the demo model cannot give, fed to the translation into events and messages.
#include "server/messages_answer.h"

#include <boost/json/serialize.hpp>
#include <set>

#include "server/test_script.h"
#include "server/test_server.h"

namespace sluice::testing {
namespace {

namespace json = boost::json;

// A stream's events, each under its own name.
std::vector<json::object> events_of(const std::string& text) {
  std::vector<json::object> out;
  for (size_t at = 0, end; (end = text.find("\n\n", at)) != std::string::npos; at = end + 2) {
    const size_t line = text.find('\n', at);
    EXPECT_EQ(text.substr(at, 7), "event: ");
    EXPECT_EQ(text.substr(line, 7), "\ndata: ");
    out.push_back(json_of(text.substr(line + 7, end - line - 7)).as_object());
    EXPECT_EQ(out.back().at("type"), json::value(text.substr(at + 7, line - at - 7)));
  }
  return out;
}

// The message that a client puts together from a stream, which has to keep to the order of events.
class Assembled {
 public:
  explicit Assembled(const std::vector<json::object>& events) {
    for (const json::object& e : events) take(e);
    EXPECT_TRUE(ended_);
  }
  json::object message;
  int pings = 0;

 private:
  void take(const json::object& e) {
    const json::string& type = e.at("type").as_string();
    EXPECT_FALSE(ended_) << type;
    if (type == "message_start") {
      EXPECT_TRUE(message.empty());
      message = e.at("message").as_object();
      EXPECT_TRUE(message.at("content").as_array().empty());
      EXPECT_TRUE(message.at("stop_reason").is_null());
      start_usage_ = message.at("usage").as_object();
      return;
    }
    ASSERT_FALSE(message.empty()) << type;
    json::array& content = message["content"].as_array();
    if (type == "ping") {
      ++pings;
    } else if (type == "content_block_start") {
      EXPECT_FALSE(open_);
      EXPECT_EQ(e.at("index"), int64_t(content.size()));
      content.push_back(e.at("content_block"));
      open_ = true;
    } else if (type == "content_block_delta") {
      EXPECT_TRUE(open_);
      EXPECT_EQ(e.at("index"), int64_t(content.size() - 1));
      add(content.back().as_object(), e.at("delta").as_object());
    } else if (type == "content_block_stop") {
      EXPECT_TRUE(std::exchange(open_, false));
      EXPECT_EQ(e.at("index"), int64_t(content.size() - 1));
      json::object& block = content.back().as_object();
      if (block.at("type") == "tool_use") block["input"] = json_of(std::exchange(input_, {}));
    } else if (type == "message_delta") {
      EXPECT_FALSE(open_);
      for (const auto& [key, value] : e.at("delta").as_object()) message[key] = value;
      message["usage"] = e.at("usage");
      for (const char* key : {"input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"})
        EXPECT_EQ(start_usage_.at(key), e.at("usage").at(key));
    } else {
      EXPECT_EQ(type, "message_stop");
      EXPECT_FALSE(message.at("stop_reason").is_null());
      ended_ = true;
    }
  }
  void add(json::object& block, const json::object& delta) {
    const json::string& type = delta.at("type").as_string();
    const auto append = [&](const char* key) { block[key].as_string() += std::string_view(delta.at(key).as_string()); };
    if (type == "text_delta") append("text");
    else if (type == "thinking_delta") append("thinking");
    else if (type == "signature_delta") append("signature");
    else if (type == "input_json_delta") input_ += std::string_view(delta.at("partial_json").as_string());
    else ADD_FAILURE() << type;
  }

  json::object start_usage_;
  std::string input_;
  bool open_ = false, ended_ = false;
};

class MessagesAnswers : public ::testing::Test {
 protected:
  Script script;

  std::string answer(bool stream) {
    TestServer server({}, [&](Router& r) {
      r.add("GET", "/answer", [this, stream](HttpRequest, Responder responder) {
        MessagesAnswerOptions o{.id = "msg_1", .model = "demo", .request_id = "r7", .stream = stream};
        o.format = script.format, o.tools = script_tools();
        o.parallel_calls = script.parallel, o.show_thinking = script.include_reasoning;
        MessagesAnswer answer(std::move(o), responder);
        play(script, answer);
      });
    });
    RawClient client(server.port());
    const RawResponse r = client.get("/answer");
    EXPECT_EQ(r.status, script.fails && !stream ? 503 : 200);
    EXPECT_EQ(r.header("Request-Id"), "r7");
    EXPECT_TRUE(r.complete);
    return r.body;
  }
  json::object whole() { return json_of(answer(false)).as_object(); }
  json::object streamed() { return Assembled(events_of(answer(true))).message; }

  // Ids of calls are new each time.
  static json::object without_ids(json::object message) {
    std::set<std::string> ids;
    for (json::value& block : message["content"].as_array()) {
      json::object& b = block.as_object();
      if (b.at("type") != "tool_use") continue;
      const std::string id(b.at("id").as_string());
      EXPECT_TRUE(id.starts_with("toolu_"));
      EXPECT_TRUE(ids.insert(id).second);
      b.erase("id");
    }
    return message;
  }
};

constexpr const char* kTwoCallsContent = R"([{"type": "thinking", "thinking": "which?", "signature": "msg_1"},
    {"type": "text", "text": "I add."}, {"type": "tool_use", "name": "add", "input": {"a": 41, "note": "x"}},
    {"type": "tool_use", "name": "now", "input": {}}])";

TEST_F(MessagesAnswers, AMessage) {
  script.text = "hello";
  const json::object m = whole();
  EXPECT_EQ(m, json_of(R"({"id": "msg_1", "type": "message", "role": "assistant", "model": "demo", "stop_reason": "end_turn",
      "stop_sequence": null, "content": [{"type": "text", "text": "hello"}], "usage": {"input_tokens": 3, "output_tokens": 2,
      "cache_creation_input_tokens": 0, "cache_read_input_tokens": 1, "output_tokens_details": {"thinking_tokens": 0}}})"));
  EXPECT_EQ(streamed(), m);
}

TEST_F(MessagesAnswers, ThinkingTextAndCallsHowEverTheyAreCut) {
  script.text = kTwoCalls;
  for (const size_t piece : {1u, 2u, 7u, 1000u}) {
    script.piece = piece;
    const json::object m = without_ids(whole());
    EXPECT_EQ(m.at("content"), json_of(kTwoCallsContent));
    EXPECT_EQ(m.at("stop_reason"), "tool_use");
    EXPECT_EQ(without_ids(streamed()), m);
  }
}

TEST_F(MessagesAnswers, EveryStreamBeginsWithAPing) {
  script.text = "a";
  const auto events = events_of(answer(true));
  EXPECT_EQ(Assembled(events).pings, 1);
  EXPECT_EQ(events[1].at("type"), "ping");
}

TEST_F(MessagesAnswers, TextBehindACallIsABlockOfItsOwn) {
  script.text = "a\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\nb";
  const json::object m = without_ids(streamed());
  ASSERT_EQ(m.at("content").as_array().size(), 3u);
  EXPECT_EQ(m.at("content").at(2).at("type"), "text");
  EXPECT_EQ(without_ids(whole()), m);
}

TEST_F(MessagesAnswers, TheInputOfACallIsWrittenAsTheModelDid) {
  script.text = R"(<tool_call>
{"name": "add", "arguments": {"a": 123456789012345678901234567890, "a": 1.50}}
</tool_call>)";
  EXPECT_NE(answer(false).find(R"("input":{"a": 123456789012345678901234567890, "a": 1.50})"), std::string::npos) << answer(false);
}

TEST_F(MessagesAnswers, Ends) {
  const auto reason = [&](FinishReason finish, const std::string& stop_string) {
    script.finish = finish, script.stop_string = stop_string;
    const json::object m = whole();
    EXPECT_EQ(without_ids(m), without_ids(streamed()));
    EXPECT_EQ(m.at("stop_sequence"), m.at("stop_reason") == "stop_sequence" ? json::value(stop_string) : json::value());
    return m.at("stop_reason");
  };
  script.text = "a";
  EXPECT_EQ(reason(FinishReason::kStop, ""), "end_turn");
  EXPECT_EQ(reason(FinishReason::kStop, "END"), "stop_sequence");
  EXPECT_EQ(reason(FinishReason::kLength, ""), "max_tokens");
  script.text = kTwoCalls;
  EXPECT_EQ(reason(FinishReason::kStop, ""), "tool_use");
  EXPECT_EQ(reason(FinishReason::kLength, ""), "max_tokens");
  script.text = "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 4";  // not to be run
  EXPECT_EQ(reason(FinishReason::kStop, ""), "end_turn");
  EXPECT_EQ(reason(FinishReason::kStop, "END"), "stop_sequence");
  script.text = "";
  EXPECT_EQ(reason(FinishReason::kLength, ""), "max_tokens");
  EXPECT_TRUE(whole().at("content").as_array().empty());
}

TEST_F(MessagesAnswers, OneCallAtMost) {
  script.text = kTwoCalls, script.parallel = false;
  EXPECT_EQ(whole().at("content").as_array().size(), 3u);
  EXPECT_EQ(without_ids(streamed()), without_ids(whole()));
}

TEST_F(MessagesAnswers, ThinkingThatIsNotToBeShownIsStillABlock) {
  script.text = "<think>\nwhich?\n</think>\n\nhello", script.include_reasoning = false;
  const json::object m = whole();
  EXPECT_EQ(m.at("content"),
            json_of(R"([{"type": "thinking", "thinking": "", "signature": "msg_1"}, {"type": "text", "text": "hello"}])"));
  EXPECT_GT(m.at("usage").at("output_tokens_details").at("thinking_tokens").as_int64(), 3);
  EXPECT_EQ(streamed(), m);
}

TEST_F(MessagesAnswers, AFailureIsTheLastEvent) {
  script.text = "hello", script.fails = true;
  const auto events = events_of(answer(true));
  EXPECT_EQ(events.front().at("type"), "message_start");
  const char* error = R"({"type": "error", "error": {"type": "overloaded_error", "message": "gone"}, "request_id": "r7"})";
  EXPECT_EQ(events.back(), json_of(error));
  EXPECT_EQ(json_of(answer(false)), json_of(error));
}

}  // namespace
}  // namespace sluice::testing
