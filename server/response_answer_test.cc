// Answers that the demo model cannot give, fed to the translation into a response, and into events of which a client builds one.
#include "server/response_answer.h"

#include <boost/json/serialize.hpp>
#include <set>

#include "server/test_script.h"
#include "server/test_server.h"
#include "text/detokenizer.h"

namespace sluice::testing {
namespace {

namespace json = boost::json;

// What a client makes of a stream, step by step, and whether the stream's own words agree with it.
class Client {
 public:
  void event(const std::string& name, const json::object& e) {
    const std::string type(e.at("type").as_string());
    EXPECT_EQ(name, type);
    EXPECT_EQ(e.at("sequence_number"), int64_t(types.size()));
    EXPECT_FALSE(ended) << type;
    types.push_back(type);
    if (type == "error") return;
    if (const auto* r = e.if_contains("response")) return lifecycle(type, r->as_object());
    const size_t index = size_t(e.at("output_index").as_int64());
    if (type == "response.output_item.added") {
      EXPECT_EQ(index, output.size());
      EXPECT_EQ(e.at("item").at("status"), "in_progress");
      output.push_back(e.at("item"));
      return;
    }
    ASSERT_EQ(index + 1, output.size());  // one item after the other
    json::object& item = output.back().as_object();
    if (type == "response.output_item.done") {
      item["status"] = e.at("item").at("status");
      EXPECT_EQ(e.at("item"), item);
      return;
    }
    EXPECT_EQ(e.at("item_id"), item.at("id"));
    if (item.at("type") == "function_call") return call(type, e, item);
    EXPECT_EQ(e.at("content_index"), 0);
    text(type, e, item.at("content").as_array());
  }

  std::vector<std::string> types;
  json::array output;
  json::object response;
  bool ended = false;

 private:
  static void append(json::value& to, const json::value& more) { to.as_string() += std::string_view(more.as_string()); }

  void lifecycle(const std::string& type, const json::object& r) {
    const bool begins = types.size() <= 2;
    EXPECT_EQ(type, types.size() == 1 ? "response.created" : begins ? "response.in_progress" : type);
    EXPECT_EQ("response." + std::string(r.at("status").as_string()), begins ? "response.in_progress" : type);
    EXPECT_EQ(r.at("output"), output);
    ended = !begins;
    if (ended) response = r;
  }
  static void call(const std::string& type, const json::object& e, json::object& item) {
    if (type.ends_with("arguments.delta")) return append(item["arguments"], e.at("delta"));
    EXPECT_EQ(type, "response.function_call_arguments.done");
    EXPECT_EQ(e.at("arguments"), item.at("arguments"));
    EXPECT_EQ(e.at("name"), item.at("name"));
  }
  static void text(const std::string& type, const json::object& e, json::array& content) {
    if (type == "response.content_part.added") return content.push_back(e.at("part"));
    ASSERT_EQ(content.size(), 1u) << type;
    json::object& part = content[0].as_object();
    if (type == "response.content_part.done") {
      EXPECT_EQ(e.at("part"), part);
      return;
    }
    const bool is_message = part.at("type") == "output_text";
    EXPECT_TRUE(type.starts_with(is_message ? "response.output_text." : "response.reasoning_text.")) << type;
    if (!type.ends_with(".delta")) {
      EXPECT_EQ(e.at("text"), part.at("text"));
      if (is_message) {
        EXPECT_EQ(e.at("logprobs"), part.at("logprobs"));
      }
      return;
    }
    append(part["text"], e.at("delta"));
    if (!is_message) return;
    for (const json::value& t : e.at("logprobs").as_array()) part["logprobs"].as_array().push_back(t);
  }
};

class ResponseAnswers : public ::testing::Test {
 protected:
  std::unique_ptr<Service> service = demo_service(hermes_template());
  Script script;
  bool logprobs = false;
  std::function<void(AnswerSink&)> play_it = [this](AnswerSink& sink) { play(script, sink); };
  std::function<void(HttpOptions&)> change = [](HttpOptions&) {};

  RawResponse answer(bool stream) {
    TestServer server(change, [&](Router& r) {
      r.add("GET", "/answer", [this, stream](HttpRequest, Responder responder) {
        ResponseAnswerOptions o;
        o.response = {{"id", "resp_x"}, {"error", nullptr}, {"incomplete_details", nullptr}, {"output", json::array()}};
        o.stream = stream, o.logprobs = logprobs;
        o.format = script.format, o.tools = script_tools();
        o.parallel_calls = script.parallel, o.include_reasoning = script.include_reasoning;
        ResponseAnswer answer(std::move(o), *service, responder);
        play_it(answer);
      });
    });
    RawClient client(server.port());
    const RawResponse r = client.get("/answer");
    EXPECT_TRUE(r.complete);
    return r;
  }
  json::object whole() { return json_of(answer(false).body).as_object(); }
  Client streamed() {
    Client client;
    const std::string text = answer(true).body;
    for (size_t at = 0, end; (end = text.find("\n\n", at)) != std::string::npos; at = end + 2) {
      const std::string block = text.substr(at, end - at);
      const size_t line = block.find('\n');
      EXPECT_TRUE(block.starts_with("event: ")) << block;
      client.event(block.substr(7, line - 7), json_of(block.substr(line + 7)).as_object());
    }
    EXPECT_TRUE(client.ended);
    return client;
  }

  // All but what is drawn anew each time.
  static std::string shown(const json::value& output) {
    json::array items = output.as_array();
    std::set<std::string> ids;
    for (json::value& item : items)
      for (const char* key : {"id", "call_id"})
        if (const auto* id = item.as_object().if_contains(key)) {
          EXPECT_TRUE(ids.insert(std::string(id->as_string())).second);
          item.as_object().erase(key);
        }
    return json::serialize(items);
  }
};

TEST_F(ResponseAnswers, ItemsOfEveryKind) {
  script.text = kTwoCalls;
  const json::object o = whole();
  EXPECT_EQ(o.at("status"), "completed");
  EXPECT_TRUE(o.at("incomplete_details").is_null());
  EXPECT_TRUE(o.at("completed_at").is_int64());
  const json::array& items = o.at("output").as_array();
  ASSERT_EQ(items.size(), 4u);
  const char* prefixes[] = {"rs_", "msg_", "fc_", "fc_"};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(std::string_view(items[i].at("id").as_string()).starts_with(prefixes[i]));
    EXPECT_EQ(items[i].at("status"), "completed");
  }
  EXPECT_EQ(items[0].at("content"), json_of(R"([{"type": "reasoning_text", "text": "which?"}])"));
  EXPECT_EQ(items[0].at("summary"), json::array());
  EXPECT_EQ(items[1].at("content"), json_of(R"([{"type": "output_text", "text": "I add.", "annotations": [], "logprobs": []}])"));
  EXPECT_EQ(items[1].at("role"), "assistant");
  EXPECT_EQ(items[2].at("name"), "add");
  EXPECT_EQ(items[2].at("arguments"), R"({"a": 41, "note": "x"})");
  EXPECT_EQ(items[3].at("arguments"), "{}");
  EXPECT_TRUE(std::string_view(items[2].at("call_id").as_string()).starts_with("call_"));
}

TEST_F(ResponseAnswers, AStreamBuildsTheSame) {
  for (const char* text : {kTwoCalls, "only this", "", "<think>and nothing else",
                           "a\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>b"})
    for (const FinishReason finish : {FinishReason::kStop, FinishReason::kLength})
      for (const size_t piece : {1u, 2u, 7u, 1000u}) {
        script.text = text, script.finish = finish, script.piece = piece;
        const json::object o = whole();
        const Client client = streamed();
        EXPECT_EQ(shown(client.response.at("output")), shown(o.at("output")));
        for (const char* key : {"status", "usage", "incomplete_details"}) EXPECT_EQ(client.response.at(key), o.at(key)) << key;
      }
}

TEST_F(ResponseAnswers, EventsInTheirOrder) {
  script.text = "<think>a</think>b", script.piece = 1000;
  const std::vector<std::string> wanted = {"created",
                                           "in_progress",
                                           "output_item.added",
                                           "content_part.added",
                                           "reasoning_text.delta",
                                           "reasoning_text.done",
                                           "content_part.done",
                                           "output_item.done",
                                           "output_item.added",
                                           "content_part.added",
                                           "output_text.delta",
                                           "output_text.done",
                                           "content_part.done",
                                           "output_item.done",
                                           "completed"};
  const Client client = streamed();
  ASSERT_EQ(client.types.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_EQ(client.types[i], "response." + wanted[i]);
}

TEST_F(ResponseAnswers, WhatWasCutIsIncomplete) {
  script.finish = FinishReason::kLength;
  const auto last_item = [&](const char* text) {
    script.text = text;
    const json::object o = whole();
    EXPECT_EQ(o.at("status"), "incomplete");
    EXPECT_EQ(o.at("incomplete_details"), json_of(R"({"reason": "max_output_tokens"})"));
    return o.at("output").as_array().back().at("status");
  };
  EXPECT_EQ(last_item("one tw"), "incomplete");
  EXPECT_EQ(last_item("<think>one tw"), "incomplete");
  EXPECT_EQ(last_item("<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 4"), "incomplete");
  EXPECT_EQ(last_item(kTwoCalls), "completed");  // the call was whole
}

TEST_F(ResponseAnswers, ACallThatBreaksOffIsNotToBeRun) {
  script.text = "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 4";
  const json::object o = whole();
  EXPECT_EQ(o.at("status"), "completed");
  EXPECT_EQ(o.at("output").at(0).at("status"), "incomplete");
  EXPECT_EQ(o.at("output").at(0).at("arguments"), "{\"a\": 4}");
}

TEST_F(ResponseAnswers, OneCallAtMostAndNoReasoning) {
  script.text = kTwoCalls, script.parallel = false, script.include_reasoning = false;
  const json::object o = whole();
  ASSERT_EQ(o.at("output").as_array().size(), 2u);
  EXPECT_EQ(o.at("output").at(0).at("type"), "message");
  EXPECT_EQ(o.at("output").at(1).at("name"), "add");
  EXPECT_EQ(shown(streamed().output), shown(o.at("output")));
}

TEST_F(ResponseAnswers, NothingIsAnEmptyMessage) {
  const json::object o = whole();
  ASSERT_EQ(o.at("output").as_array().size(), 1u);
  EXPECT_EQ(o.at("output").at(0).at("content").at(0).at("text"), "");
}

TEST_F(ResponseAnswers, Usage) {
  script.text = "<think>ab</think>cd", script.piece = 1;
  EXPECT_EQ(whole().at("usage"),
            json_of(R"({"input_tokens": 4, "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
      "output_tokens": 19, "output_tokens_details": {"reasoning_tokens": 17}, "total_tokens": 23})"));
}

TEST_F(ResponseAnswers, LogprobsAreOfTheMessagesTokens) {
  logprobs = true;
  const std::string text = R"(<think>
It is 12?
</think>

It is 12, 世界.
<tool_call>
{"name": "now", "arguments": {}}
</tool_call>)";
  const std::vector<int32_t> ids = service->tokenizer().encode(text, false);
  play_it = [&](AnswerSink& sink) {
    sink.begin();
    Detokenizer detokenizer(service->tokenizer(), true);
    for (const int32_t id : ids) {
      Event e;
      e.tokens.push_back({{.id = id, .logprob = -0.5f}, {{.id = 7, .logprob = -1}}});
      e.text = detokenizer.push(id);
      sink.event(0, e);
    }
    Event last;
    last.finish = FinishReason::kStop;
    last.tokens.push_back({{.id = 2045, .logprob = -1}, {}});
    sink.event(0, last);
    sink.end();
  };
  const json::object o = whole();
  const json::object part = o.at("output").at(1).at("content").at(0).as_object();
  std::string said;
  for (const json::value& t : part.at("logprobs").as_array()) {
    for (const json::value& byte : t.at("bytes").as_array()) said += char(byte.as_int64());
    EXPECT_EQ(t.at("logprob"), -0.5);
    EXPECT_EQ(t.at("top_logprobs").as_array().size(), 1u);
  }
  EXPECT_EQ(part.at("text"), "It is 12, 世界.");
  EXPECT_EQ(said, "It is 12, 世界.\n");  // the last token goes on behind it
  EXPECT_EQ(o.at("output").as_array().size(), 3u);
  EXPECT_EQ(shown(streamed().output), shown(o.at("output")));
}

TEST_F(ResponseAnswers, Failures) {
  play_it = [](AnswerSink& sink) {
    sink.begin();
    Event e;
    e.text = "one";
    sink.event(0, e);
    sink.fail(unavailable("the server is shutting down"), true);
  };
  const Client client = streamed();
  EXPECT_EQ(client.types[client.types.size() - 2], "error");
  EXPECT_EQ(client.response.at("status"), "failed");
  EXPECT_EQ(client.response.at("error"), json_of(R"({"code": "server_error", "message": "the server is shutting down"})"));
  EXPECT_EQ(client.response.at("output").at(0).at("status"), "incomplete");
  EXPECT_EQ(answer(false).status, 503);
  play_it = [](AnswerSink& sink) { sink.fail(bad_field("input", "no"), false); };
  for (const bool stream : {false, true}) {
    const RawResponse r = answer(stream);
    EXPECT_EQ(r.status, 400);
    EXPECT_EQ(json_of(r.body).at("error").at("param"), "input");
  }
}

// The last events have the whole text again, which the limit for what waits is not made for.
TEST_F(ResponseAnswers, AnAnswersEndIsLongerThanTheQueue) {
  change = [](HttpOptions& o) { o.limits.max_stream_queue_bytes = 8 << 10; };
  script.text = "<think>" + std::string(4000, 'a') + "</think>" + std::string(3000, 'b'), script.piece = 3500;
  EXPECT_EQ(streamed().response.at("status"), "completed");
}

}  // namespace
}  // namespace sluice::testing
