#include "server/chat_prompt.h"

#include <boost/json/serialize.hpp>

#include "server/test_service.h"

namespace sluice::testing {
namespace {

namespace json = boost::json;

struct Rendered {
  ChatInput input;
  ChatPrompt prompt;
  std::string text, param;
};

Rendered render(const Service& s, const std::string& body) {
  Rendered r;
  const json::object o = json_of(body).as_object();
  MaybeError error;
  r.input = read_chat_input(RequestFields(o, error), s);
  if (!error) error = render_chat(r.input, s, r.prompt);
  if (error) r.param = error->param;
  r.text = s.tokenizer().decode(r.prompt.ids, false);
  return r;
}

constexpr const char* kTool =
    R"({"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}})";

TEST(ChatPrompt, CallsOfEarlierTurnsReachTheTemplateAsObjects) {
  for (const std::string& source : {xml_template(), hermes_template()}) {
    const auto s = demo_service(source);
    const Rendered r = render(*s, R"({"messages": [{"role": "user", "content": "go"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function",
          "function": {"name": "add", "arguments": "{\"a\": 41}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"}], "tools": [)" +
                                      std::string(kTool) + "]}");
    ASSERT_EQ(r.param, "");
    const bool xml = s->tool_format() == ToolFormat::kQwenXml;
    EXPECT_NE(r.text.find(xml ? "<parameter=a>\n41\n</parameter>" : R"("arguments": {"a": 41})"), std::string::npos) << r.text;
    EXPECT_NE(r.text.find("<tool_response>\n42"), std::string::npos) << r.text;
  }
}

TEST(ChatPrompt, ToolChoiceNoneLeavesTheToolsOut) {
  const auto s = demo_service(xml_template());
  const std::string begin = R"({"messages": [{"role": "user", "content": "go"}], "tools": [)" + std::string(kTool) + "]";
  EXPECT_NE(render(*s, begin + "}").text.find("\"add\""), std::string::npos);
  EXPECT_NE(render(*s, begin + R"(, "tool_choice": "auto"})").text.find("\"add\""), std::string::npos);
  EXPECT_EQ(render(*s, begin + R"(, "tool_choice": "none"})").text.find("\"add\""), std::string::npos);
  EXPECT_EQ(render(*s, begin + R"(, "tool_choice": "required"})").param, "tool_choice");
}

// Fault 15: a schema is text for the prompt and a list of types for the parser, whatever it asks for. Its size and depth are
// bounded.
TEST(ChatPrompt, HostileSchemasOfTools) {
  const auto tool = [](const std::string& parameters) {
    return R"({"messages": [{"role": "user", "content": "go"}], "tools": [{"type": "function", "function": {"name": "f", "parameters": )" +
           parameters + "}}]}";
  };
  const auto nested = [](int depth) {
    std::string schema = "{}";
    for (int i = 0; i < depth; ++i) schema = R"({"properties":{"a":)" + schema + "}}";
    return schema;
  };
  const auto properties = [](int count, const std::string& schema) {
    std::string all;
    for (int i = 0; i < count; ++i) all += (i ? ",\"p" : "\"p") + std::to_string(i) + "\":" + schema;
    return R"({"type":"object","properties":{)" + all + R"(},"$defs":{"a":{"anyOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/a"}]}}})";
  };
  const std::string answer = "<tool_call>\n<function=f>\n<parameter=p0>\n5\n</parameter>\n</function>\n</tool_call>";
  for (const std::string& source : {xml_template(), hermes_template()}) {
    const auto s = demo_service(source);
    for (const std::string& schema :
         {nested(25), properties(500, "{}"), properties(1, R"({"pattern":"(a+)+b","maxLength":1000000000})"),
          properties(1, R"({"type":"integer","minimum":2,"maximum":1})"), properties(200, R"({"$ref":"#/$defs/a"})"),
          std::string(R"({"$ref":"#"})"), std::string(R"({"type":["object",5,null],"properties":{"p0":[1]}})")}) {
      const Rendered r = render(*s, tool(schema));
      EXPECT_EQ(r.param, "") << schema.substr(0, 80);
      OutputParser parser({s->tool_format(), Reasoning::kOff}, r.input.tools);
      EXPECT_FALSE(parser.push(answer).empty());
      (void)parser.finish();
    }
    EXPECT_EQ(render(*s, tool(properties(7000, "{}"))).param, "tools[0].function.parameters") << "more than 64 KiB";
    MaybeError error;
    boost::json::object body;
    EXPECT_TRUE((error = parse_body(tool(nested(1000)), body)).has_value()) << "deeper than 64";
  }
}

TEST(ChatPrompt, Thinking) {
  const auto s = demo_service(xml_template());
  const std::string begin = R"({"messages": [{"role": "user", "content": "go"}])";
  EXPECT_EQ(render(*s, begin + "}").prompt.reasoning, Reasoning::kPromptOpened);
  for (const char* off :
       {R"("enable_thinking": false)", R"("chat_template_kwargs": {"enable_thinking": false})", R"("reasoning_effort": "none")"}) {
    const Rendered r = render(*s, begin + ", " + off + "}");
    EXPECT_EQ(r.prompt.reasoning, Reasoning::kModelOpens) << off;
    EXPECT_TRUE(r.text.ends_with("</think>\n\n")) << r.text;
  }
}

TEST(ChatPrompt, BoundariesAreWhereUserMessagesBegin) {
  const auto s = demo_service(xml_template());
  const Rendered r = render(*s, R"({"messages": [{"role": "system", "content": "Be brief, go. Go on, assistant."},
      {"role": "user", "content": "  go  "}, {"role": "assistant", "content": "yes"}, {"role": "user", "content": "assistant"}]})");
  ASSERT_EQ(r.prompt.boundaries.size(), 2u);
  const auto before = [&](int64_t n) { return s->tokenizer().decode(std::span(r.prompt.ids).first(size_t(n)), false); };
  EXPECT_TRUE(before(r.prompt.boundaries[0]).ends_with("Go on, assistant.<|im_end|>\n<|im_start|>user\n"))
      << before(r.prompt.boundaries[0]);
  EXPECT_TRUE(before(r.prompt.boundaries[1]).ends_with("yes<|im_end|>\n<|im_start|>user\n")) << before(r.prompt.boundaries[1]);
  EXPECT_EQ(render(*s, R"({"messages": [{"role": "user", "content": "x"}]})").prompt.boundaries.size(), 1u);
}

TEST(ChatPrompt, WhatTheTemplateSaysIsTheClientsMistake) {
  const auto s = demo_service("{{ raise_exception('no ' ~ messages[0].role) }}");
  const json::object o = json_of(R"({"messages": [{"role": "system", "content": "x"}]})").as_object();
  MaybeError error;
  ChatPrompt prompt;
  const auto refused = render_chat(read_chat_input(RequestFields(o, error), *s), *s, prompt);
  ASSERT_TRUE(refused);
  EXPECT_EQ((std::pair{refused->status, refused->param}), (std::pair{400, std::string("messages")}));
  EXPECT_NE(refused->message.find("no system"), std::string::npos);
}

TEST(ChatPrompt, ContinuesTheLastMessage) {
  const auto s = demo_service("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}");
  const std::string begin = R"({"continue_final_message": true, "messages": [{"role": "user", "content": "go"}, )";
  const Rendered r = render(*s, begin + R"({"role": "assistant", "content": "go on "}]})");
  EXPECT_TRUE(r.text.ends_with("assistant\ngo on ")) << r.text;
  EXPECT_EQ(r.prompt.continued, "go on ");
  EXPECT_EQ(render(*s, begin + R"({"role": "user", "content": "x"}]})").param, "continue_final_message");
  EXPECT_EQ(render(*s, begin + R"({"role": "assistant", "content": " "}]})").param, "continue_final_message");
  EXPECT_EQ(
      render(*s, R"({"add_generation_prompt": true, )" + begin.substr(1) + R"({"role": "assistant", "content": "x"}]})").param,
      "continue_final_message");
}

}  // namespace
}  // namespace sluice::testing
