// Answers that the demo model cannot give, fed to the translation into chunks and objects.
#include "server/chat_answer.h"

#include <boost/json/serialize.hpp>

#include "server/test_script.h"
#include "server/test_server.h"

namespace sluice::testing {
namespace {

namespace json = boost::json;

class ChatAnswers : public ::testing::Test {
 protected:
  std::unique_ptr<Service> service = demo_service(hermes_template());
  Script script;

  std::string answer(bool stream) {
    TestServer server({}, [&](Router& r) {
      r.add("GET", "/answer", [this, stream](HttpRequest, Responder responder) {
        ChatAnswerOptions o;
        o.head = answer_head("chatcmpl-", "x", "chat", *service);
        o.stream = stream, o.include_usage = true;
        o.format = script.format, o.tools = script_tools();
        o.parallel_calls = script.parallel, o.include_reasoning = script.include_reasoning;
        ChatAnswer answer(std::move(o), *service, responder);
        play(script, answer);
      });
    });
    RawClient client(server.port());
    const RawResponse r = client.get("/answer");
    EXPECT_EQ(r.status, 200);
    EXPECT_TRUE(r.complete);
    return r.body;
  }
  json::object whole() { return json_of(answer(false)).as_object(); }

  // The object that a client puts together from a stream.
  json::object streamed() {
    std::string text = answer(true);
    json::object message = {{"content", ""}, {"reasoning", ""}, {"tool_calls", json::array()}, {"finish_reason", nullptr}};
    for (size_t at = 0, end; (end = text.find("\n\n", at)) != std::string::npos; at = end + 2) {
      const std::string data = text.substr(at + 6, end - at - 6);
      if (data == "[DONE]") continue;
      const json::object o = json_of(data).as_object();
      if (o.at("choices").as_array().empty()) message["usage"] = o.at("usage");
      for (const json::value& c : o.at("choices").as_array()) {
        add_delta(message, c.at("delta").as_object());
        if (!c.at("finish_reason").is_null()) message["finish_reason"] = c.at("finish_reason");
      }
    }
    return message;
  }

 private:
  static void append(json::value& to, const json::value& more) { to.as_string() += std::string_view(more.as_string()); }
  static void add_delta(json::object& m, const json::object& d) {
    if (const auto* c = d.if_contains("content")) append(m["content"], *c);
    if (const auto* r = d.if_contains("reasoning")) {
      EXPECT_EQ(d.at("reasoning_content"), *r);
      append(m["reasoning"], *r);
    }
    if (!d.contains("tool_calls")) return;
    for (const json::value& part : d.at("tool_calls").as_array()) {
      json::array& calls = m["tool_calls"].as_array();
      const size_t index = size_t(part.at("index").as_int64());
      EXPECT_LE(index, calls.size());
      if (index == calls.size()) {
        EXPECT_TRUE(std::string_view(part.at("id").as_string()).starts_with("call_"));
        EXPECT_EQ(part.at("type"), "function");
        calls.push_back({{"name", part.at("function").at("name")}, {"arguments", ""}});
      } else {
        EXPECT_FALSE(part.as_object().contains("id"));
      }
      append(calls[index].as_object()["arguments"], part.at("function").at("arguments"));
    }
  }
};

TEST_F(ChatAnswers, CallsAndReasoning) {
  script.text = kTwoCalls;
  const json::object o = whole();
  const json::object choice = o.at("choices").at(0).as_object();
  const json::object& m = choice.at("message").as_object();
  EXPECT_EQ(choice.at("finish_reason"), "tool_calls");
  EXPECT_EQ(m.at("content"), "I add.");
  EXPECT_EQ(m.at("reasoning"), "which?");
  EXPECT_EQ(m.at("reasoning_content"), "which?");
  ASSERT_EQ(m.at("tool_calls").as_array().size(), 2u);
  EXPECT_EQ(m.at("tool_calls").at(0).at("function"), json_of(R"({"name": "add", "arguments": "{\"a\": 41, \"note\": \"x\"}"})"));
  EXPECT_EQ(m.at("tool_calls").at(1).at("function"), json_of(R"({"name": "now", "arguments": "{}"})"));
  EXPECT_NE(m.at("tool_calls").at(0).at("id"), m.at("tool_calls").at(1).at("id"));
}

TEST_F(ChatAnswers, AStreamSaysTheSame) {
  for (const size_t piece : {1u, 2u, 7u, 1000u}) {
    script.text = kTwoCalls, script.piece = piece;
    const json::object m = streamed();
    EXPECT_EQ(m.at("content"), "I add.");
    EXPECT_EQ(m.at("reasoning"), "which?");
    EXPECT_EQ(m.at("finish_reason"), "tool_calls");
    EXPECT_EQ(json::serialize(m.at("tool_calls")),
              R"([{"name":"add","arguments":"{\"a\": 41, \"note\": \"x\"}"},{"name":"now","arguments":"{}"}])");
  }
}

TEST_F(ChatAnswers, XmlCalls) {
  script.format.tools = ToolFormat::kQwenXml;
  script.text = "<tool_call>\n<function=add>\n<parameter=a>\n41\n</parameter>\n</function>\n</tool_call>";
  const json::object m = whole().at("choices").at(0).at("message").as_object();
  EXPECT_TRUE(m.at("content").is_null());
  EXPECT_EQ(json_of(std::string(m.at("tool_calls").at(0).at("function").at("arguments").as_string())), json_of(R"({"a": 41})"));
  EXPECT_EQ(streamed().at("tool_calls").as_array().size(), 1u);
}

TEST_F(ChatAnswers, ACallThatBreaksOffIsNotToBeRun) {
  script.text = R"(<tool_call>
{"name": "add", "arguments": {"a": 4)";
  EXPECT_EQ(whole().at("choices").at(0).at("finish_reason"), "stop");
  script.finish = FinishReason::kLength;
  EXPECT_EQ(whole().at("choices").at(0).at("finish_reason"), "length");
  script.text = kTwoCalls;
  EXPECT_EQ(streamed().at("finish_reason"), "length");
}

TEST_F(ChatAnswers, OneCallAtMost) {
  script.text = kTwoCalls, script.parallel = false;
  EXPECT_EQ(whole().at("choices").at(0).at("message").at("tool_calls").as_array().size(), 1u);
  EXPECT_EQ(streamed().at("tool_calls").as_array().size(), 1u);
}

TEST_F(ChatAnswers, ReasoningLeftOut) {
  script.text = kTwoCalls, script.include_reasoning = false;
  EXPECT_TRUE(whole().at("choices").at(0).at("message").at("reasoning").is_null());
  EXPECT_EQ(streamed().at("reasoning"), "");
}

TEST_F(ChatAnswers, Usage) {
  const auto reasoning = [&](const char* text) {
    script.text = text, script.piece = 1;
    const json::object u = whole().at("usage").as_object();
    EXPECT_EQ(u, streamed().at("usage").as_object());
    EXPECT_EQ(u.at("total_tokens"), 4 + u.at("completion_tokens").as_int64());
    EXPECT_EQ(u.at("prompt_tokens_details").at("cached_tokens"), 1);
    EXPECT_EQ(u.at("completion_tokens_details").at("accepted_prediction_tokens"), 3);
    EXPECT_EQ(u.at("completion_tokens_details").at("rejected_prediction_tokens"), 2);
    return u.at("completion_tokens_details").at("reasoning_tokens").as_int64();
  };
  EXPECT_EQ(reasoning("hello"), 0);
  EXPECT_EQ(reasoning("<think>ab</think>cd"), 17);  // the tags too
  EXPECT_EQ(reasoning("<think>abc"), 10);
}

}  // namespace
}  // namespace sluice::testing
