#include "server/messages_prompt.h"

#include <boost/json/serialize.hpp>

#include "server/test_service.h"

namespace sluice::testing {
namespace {

namespace json = boost::json;

class MessagesPrompt : public ::testing::Test {
 protected:
  std::unique_ptr<Service> service = demo_service(xml_template());

  MessagesInput read(const std::string& body) {
    const json::object o = json_of(body).as_object();
    error.reset();
    return read_messages_input(RequestFields(o, error), *service);
  }
  std::string messages(const std::string& body) {
    const MessagesInput in = read(body);
    EXPECT_FALSE(error) << error->message;
    return json::serialize(in.chat.messages);
  }
  // Status and field.
  std::pair<int, std::string> refusal(const std::string& body) {
    read(body);
    return error ? std::pair{error->status, error->param} : std::pair{200, std::string()};
  }
  MaybeError error;
};

constexpr const char* kUser = R"({"role": "user", "content": "go"})";
constexpr const char* kTool = R"({"name": "add", "description": "adds", "input_schema": {"type": "object"},
    "cache_control": {"type": "ephemeral"}})";

std::string conversation(const std::string& list) { return R"({"messages": [)" + list + "]}"; }
std::string blocks(const std::string& role, const std::string& list) {
  return R"({"role": ")" + role + R"(", "content": [)" + list + "]}";
}

TEST_F(MessagesPrompt, SystemComesFirstWithoutWhatIsNoText) {
  EXPECT_EQ(messages(R"({"system": "Be brief.", "messages": [)" + std::string(kUser) + "]}"),
            R"([{"role":"system","content":"Be brief."},{"role":"user","content":"go"}])");
  EXPECT_EQ(messages(R"({"system": [{"type": "text", "text": "x-anthropic-billing-header: cch=7;"},
                         {"type": "text", "text": "Be", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "brief."}],
                         "messages": [)" +
                     std::string(kUser) + "]}"),
            R"([{"role":"system","content":"Be\nbrief."},{"role":"user","content":"go"}])");
  EXPECT_EQ(messages(R"({"system": "", "messages": [)" + std::string(kUser) + "]}"), R"([{"role":"user","content":"go"}])");
}

TEST_F(MessagesPrompt, MessagesOfOneRoleAreJoined) {
  EXPECT_EQ(messages(conversation(R"({"role": "user", "content": "a"}, )" +
                                  blocks("user", R"({"type": "text", "text": "b"}, {"type": "text", "text": "c"})"))),
            R"([{"role":"user","content":"a\nb\nc"}])");
  // One that says nothing is still a turn.
  EXPECT_EQ(messages(conversation(std::string(kUser) + R"(, {"role": "assistant", "content": []}, )" + kUser)),
            R"([{"role":"user","content":"go"},{"role":"assistant","content":""},{"role":"user","content":"go"}])");
}

TEST_F(MessagesPrompt, CallsAndResults) {
  const std::string call = blocks("assistant", R"({"type": "thinking", "thinking": "hm", "signature": "s"},
      {"type": "redacted_thinking", "data": "?"}, {"type": "text", "text": "I add."},
      {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}}, {"type": "tool_use", "id": "t2", "name": "add", "input": {}})");
  const std::string results = blocks("user", R"({"type": "tool_result", "tool_use_id": "t1", "content": "42"},
      {"type": "tool_result", "tool_use_id": "t2", "is_error": true, "content": [{"type": "text", "text": "no"}, {"type": "text", "text": "sum"}]},
      {"type": "text", "text": "And now?"})");
  EXPECT_EQ(messages(conversation(std::string(kUser) + ", " + call + ", " + results)),
            R"([{"role":"user","content":"go"},{"role":"assistant","content":"I add.","reasoning_content":"hm","tool_calls":[)"
            R"({"id":"t1","type":"function","function":{"name":"add","arguments":{"a":1}}},)"
            R"({"id":"t2","type":"function","function":{"name":"add","arguments":{}}}]},)"
            R"({"role":"tool","tool_call_id":"t1","content":"42"},{"role":"tool","tool_call_id":"t2","content":"Error: no\nsum"},)"
            R"({"role":"user","content":"And now?"}])");
  EXPECT_EQ(messages(conversation(std::string(kUser) + ", " + call + ", " +
                                  blocks("user", R"({"type": "tool_result", "tool_use_id": "t1"})")))
                .find("\"user\",\"content\":\"\""),
            std::string::npos);
}

TEST_F(MessagesPrompt, ALastMessageOfTheAssistantIsContinued) {
  const auto last = [&](const std::string& message) { return read(conversation(std::string(kUser) + ", " + message)).chat; };
  ChatInput in = last(R"({"role": "assistant", "content": "I "})");
  EXPECT_TRUE(in.continue_final_message && !in.add_generation_prompt);
  in = last(R"({"role": "assistant", "content": " "})");
  EXPECT_TRUE(!in.continue_final_message && in.add_generation_prompt);
  EXPECT_EQ(in.messages.size(), 1u);
  in = read(conversation(kUser)).chat;
  EXPECT_TRUE(!in.continue_final_message && in.add_generation_prompt);
  for (const char* block :
       {R"({"type": "tool_use", "id": "t", "name": "add", "input": {}})", R"({"type": "thinking", "thinking": "hm"})"})
    EXPECT_EQ(refusal(conversation(std::string(kUser) + ", " + blocks("assistant", block))),
              (std::pair{400, std::string("messages")}));
}

TEST_F(MessagesPrompt, Tools) {
  const std::string begin = R"({"messages": [)" + std::string(kUser) + R"(], "tools": [)" + kTool + "]";
  EXPECT_EQ(json::serialize(read(begin + "}").chat.tools),
            R"([{"type":"function","function":{"name":"add","description":"adds","parameters":{"type":"object"}}}])");
  EXPECT_TRUE(read(begin + R"(, "tool_choice": {"type": "none"}})").chat.tools.is_null());
  EXPECT_TRUE(read(begin + R"(, "tool_choice": {"type": "auto"}})").parallel_calls);
  EXPECT_FALSE(read(begin + R"(, "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}})").parallel_calls);
  for (const char* forced : {R"({"type": "any"})", R"({"type": "tool", "name": "add"})"})
    EXPECT_EQ(refusal(begin + R"(, "tool_choice": )" + forced + "}"), (std::pair{501, std::string("tool_choice.type")}));
}

TEST_F(MessagesPrompt, ThinkingAndEffort) {
  const std::string begin = R"({"messages": [)" + std::string(kUser) + "]";
  const auto variables = [&](const std::string& more) { return json::serialize(read(begin + more + "}").chat.variables); };
  EXPECT_EQ(variables(""), "{}");
  EXPECT_EQ(variables(R"(, "thinking": {"type": "enabled", "budget_tokens": 1024})"), R"({"enable_thinking":true})");
  EXPECT_EQ(variables(R"(, "thinking": {"type": "adaptive"})"), R"({"enable_thinking":true})");
  EXPECT_EQ(variables(R"(, "thinking": {"type": "disabled"})"), R"({"enable_thinking":false})");
  EXPECT_EQ(variables(R"(, "thinking": {"type": "disabled"}, "chat_template_kwargs": {"enable_thinking": true})"),
            R"({"enable_thinking":true})");
  EXPECT_EQ(variables(R"(, "output_config": {"effort": "high"})"), R"({"reasoning_effort":"high"})");
  EXPECT_TRUE(read(begin + R"(, "thinking": {"type": "adaptive", "display": "summarized"}})").show_thinking);
  EXPECT_FALSE(read(begin + R"(, "thinking": {"type": "adaptive", "display": "omitted"}})").show_thinking);
}

TEST_F(MessagesPrompt, RefusalsNameTheField) {
  struct Case {
    std::string body, param;
    int status = 400;
  };
  const auto user = [](const std::string& block) { return conversation(blocks("user", block)); };
  const auto assistant = [](const std::string& block) { return conversation(blocks("assistant", block) + ", " + kUser); };
  const auto with = [](const std::string& more) { return R"({"messages": [)" + std::string(kUser) + "], " + more + "}"; };
  const Case cases[] = {
      {"{}", "messages"},
      {conversation(""), "messages"},
      {conversation("5"), "messages[0]"},
      {conversation(R"({"content": "x"})"), "messages[0].role"},
      {conversation(R"({"role": "tool", "content": "x"})"), "messages[0].role"},
      {conversation(R"({"role": "user"})"), "messages[0].content"},
      {conversation(R"({"role": "user", "content": {}})"), "messages[0].content"},
      {user("5"), "messages[0].content[0]"},
      {user("{}"), "messages[0].content[0].type"},
      {user(R"({"type": "text"})"), "messages[0].content[0].text"},
      {user(R"({"type": "text", "text": "a"}, {"type": "image", "source": {}})"), "messages[0].content[1].type", 501},
      {user(R"({"type": "document", "source": {}})"), "messages[0].content[0].type", 501},
      {user(R"({"type": "tool_use", "id": "t", "name": "f", "input": {}})"), "messages[0].content[0].type"},
      {user(R"({"type": "tool_result"})"), "messages[0].content[0].tool_use_id"},
      {user(R"({"type": "tool_result", "tool_use_id": "t", "content": 5})"), "messages[0].content[0].content"},
      {user(R"({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image"}]})"),
       "messages[0].content[0].content[0].type", 501},
      {assistant(R"({"type": "tool_result", "tool_use_id": "t"})"), "messages[0].content[0].type"},
      {assistant(R"({"type": "server_tool_use"})"), "messages[0].content[0].type", 501},
      {assistant(R"({"type": "thinking"})"), "messages[0].content[0].thinking"},
      {assistant(R"({"type": "tool_use", "name": "f", "input": {}})"), "messages[0].content[0].id"},
      {assistant(R"({"type": "tool_use", "id": "t", "input": {}})"), "messages[0].content[0].name"},
      {assistant(R"({"type": "tool_use", "id": "t", "name": "f"})"), "messages[0].content[0].input"},
      {with(R"("system": 5)"), "system"},
      {with(R"("system": [{"type": "image"}])"), "system[0].type", 501},
      {with(R"("tools": {})"), "tools"},
      {with(R"("tools": [5])"), "tools[0]"},
      {with(R"("tools": [{"input_schema": {}}])"), "tools[0].name"},
      {with(R"("tools": [{"name": "f"}])"), "tools[0].input_schema"},
      {with(R"("tools": [{"name": "f", "input_schema": []}])"), "tools[0].input_schema"},
      {with(R"("tools": [{"type": "web_search_20250305", "name": "web_search"}])"), "tools[0].type", 501},
      {with(R"("tool_choice": "auto")"), "tool_choice"},
      {with(R"("tool_choice": {})"), "tool_choice.type"},
      {with(R"("thinking": true)"), "thinking"},
      {with(R"("thinking": {"type": "deep"})"), "thinking.type"},
      {with(R"("thinking": {"type": "enabled", "budget_tokens": 0})"), "thinking.budget_tokens"},
      {with(R"("output_config": {"format": {"type": "json_schema"}})"), "output_config.format", 501},
      {with(R"("output_format": {"type": "json_schema"})"), "output_format", 501},
      {with(R"("output_config": {"effort": "all"})"), "output_config.effort"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(refusal(c.body), (std::pair{c.status, c.param})) << c.body;
    if (error) {
      EXPECT_TRUE(error->message.starts_with(c.param)) << error->message;
    }
  }
}

TEST_F(MessagesPrompt, ToolsNeedATemplateThatHasAFormForCalls) {
  service = demo_service("{{ messages[0].content }}");
  EXPECT_EQ(refusal(R"({"messages": [)" + std::string(kUser) + R"(], "tools": [)" + kTool + "]}"),
            (std::pair{400, std::string("tools")}));
}

}  // namespace
}  // namespace sluice::testing
