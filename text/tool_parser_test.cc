// Texts of models and what they are taken for; each cut in all places and at random.
#include "text/tool_parser.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <random>

#include "io/json.h"
#include "text/tool_parser_test_support.h"

namespace sluice::testing {
namespace {

constexpr OutputFormat kXml{ToolFormat::kQwenXml, Reasoning::kModelOpens},
    kXmlThinking{ToolFormat::kQwenXml, Reasoning::kPromptOpened}, kJson{ToolFormat::kHermesJson, Reasoning::kModelOpens},
    kJsonThinking{ToolFormat::kHermesJson, Reasoning::kPromptOpened}, kPlain{ToolFormat::kNone, Reasoning::kOff},
    kThinking{ToolFormat::kNone, Reasoning::kModelOpens};

// The same transcript however the text is cut.
void expect_transcript(const std::string& text, const Setting& setting, const std::string& wanted) {
  const Transcript whole = transcript(text, setting);
  EXPECT_EQ(whole.text(), wanted) << text;
  EXPECT_EQ(whole.fault(), "") << text;
  const std::vector<size_t> places = places_between_characters(text);
  for (const size_t place : places) ASSERT_EQ(transcript(text, setting, {place}).text(), whole.text()) << "cut at " << place;
  const Transcript single = transcript(text, setting, places);
  ASSERT_EQ(single.text(), whole.text()) << "each character alone";
  EXPECT_EQ(single.fault(), "") << text;
  std::mt19937 random(7);
  for (int i = 0; i < 20; ++i) {
    std::vector<size_t> cuts;
    for (const size_t place : places)
      if (random() % 4 == 0) cuts.push_back(place);
    ASSERT_EQ(transcript(text, setting, cuts).text(), whole.text()) << "random cuts " << i;
  }
  for (const std::string& arguments : whole.arguments()) {
    const auto json = parse_json(arguments, "arguments");
    EXPECT_TRUE(json.ok() && json->is_object()) << arguments;
  }
}

struct Case {
  OutputFormat format;
  std::string text, wanted;
};

void expect_all(const std::vector<Case>& cases) {
  for (const Case& c : cases) expect_transcript(c.text, {c.format, test_tools()}, c.wanted);
}

// A call of put with `parameters` inside, and the transcript of it.
std::string xml_put(const std::string& parameters) {
  return "<tool_call>\n<function=put>\n" + parameters + "</function>\n</tool_call>";
}
std::string parameter(const std::string& key, const std::string& value) {
  return "<parameter=" + key + ">\n" + value + "\n</parameter>\n";
}

TEST(ToolParser, Reasoning) {
  expect_all({
      {kThinking, "", ""},
      {kThinking, "just text", "C{just text}"},
      {kThinking, "<think>\nwhy\nnot\n</think>\n\nBecause.", "R{why\nnot}C{Because.}"},
      {kThinking, "\n<think>a</think>b", "R{a}C{b}"},
      {kThinking, "<think>\n\n</think>\n\nb\n", "C{b\n}"},
      {kThinking, "<think>never closed </thin\n", "R{never closed </thin\n}"},
      {kThinking, "see <think>a</think>", "C{see <think>a</think>}"},
      {kThinking, "a</think>b", "C{a</think>b}"},
      {kThinking, "<think>a</think>b</think>", "R{a}C{b</think>}"},
      {kThinking, " <thing", "C{ <thing}"},
      {kThinking, "<think>é 日本 \n \n</think>\r\n  好", "R{é 日本}C{  好}"},
      {kXmlThinking, "why\n</think>\n\nBecause.", "R{why}C{Because.}"},
      {kXmlThinking, "<think>\nwhy\n</think>\n\nBecause.", "R{why}C{Because.}"},
      {kXmlThinking, "\n\n</think>\n", ""},
      {kXmlThinking, " 1 < 2 <b> ", "R{ 1 < 2 <b> }"},
      {kPlain, "<think>a</think>b", "C{<think>a</think>b}"},
  });
}

TEST(ToolParser, ReasoningOfAPrompt) {
  EXPECT_TRUE(prompt_opens_reasoning("<|im_start|>assistant\n<think>\n"));
  EXPECT_TRUE(prompt_opens_reasoning("<think>"));
  EXPECT_FALSE(prompt_opens_reasoning("<|im_start|>assistant\n<think>\n\n</think>\n\n"));
  EXPECT_FALSE(prompt_opens_reasoning("<|im_start|>user\n<think>\nhi<|im_end|>\n<|im_start|>assistant\n"));
  EXPECT_FALSE(prompt_opens_reasoning(""));
  EXPECT_EQ(reasoning_of("... </think> ...", "assistant\n<think>\n"), Reasoning::kPromptOpened);
  EXPECT_EQ(reasoning_of("... </think> ...", "assistant\n"), Reasoning::kModelOpens);
  EXPECT_EQ(reasoning_of("...", "assistant\n"), Reasoning::kOff);
}

TEST(ToolParser, XmlCalls) {
  expect_all({
      {kXml, xml_put(parameter("s", "a b")), R"([put|{"s": "a b"}])"},
      {kXml, xml_put(""), "[put|{}]"},
      {kXml, "<tool_call><function=now></function></tool_call>", "[now|{}]"},
      {kXml, "<tool_call><function=put><parameter=s>a</parameter><parameter=i>1</parameter></function></tool_call>",
       R"([put|{"s": "a", "i": 1}])"},
      {kXml, xml_put(parameter("s", "\n two\n\n lines\n") + parameter("s2", "")), R"([put|{"s": "\n two\n\n lines\n", "s2": ""}])"},
      {kXml, xml_put(parameter("s", "q\"b\\t\t\x01\x7F é 🙂")), "[put|{\"s\": \"q\\\"b\\\\t\\t\\u0001\x7F é 🙂\"}]"},
      {kXml, "I look.\n\n" + xml_put(parameter("s", "x")) + "\n" + xml_put(parameter("i", "2")) + "\n",
       R"(C{I look.}[put|{"s": "x"}][put|{"i": 2}])"},
      {kXml, xml_put("") + "\nbetween\n" + xml_put("") + "\nafter\n", "[put|{}]C{\nbetween}[put|{}]C{\nafter\n}"},
      {kXml, "<think>\nhm\n</think>\n\n" + xml_put(parameter("s", "x")), R"(R{hm}[put|{"s": "x"}])"},
      {kXml, "<tool_call>\n<function=写>\n<parameter=文>\n字\n</parameter>\n</function>\n</tool_call>", R"([写|{"文": "字"}])"},
      {kXml, "<tool_call>\n<function=now>\n</tool_call>", "[now|{}]"},
      {kXml, xml_put("<parameter=a \"key\">\nv\n</parameter>\n"), R"([put|{"a \"key\"": "v"}])"},
  });
}

TEST(ToolParser, XmlTypes) {
  const auto value = [](const std::string& key, const std::string& text, const std::string& json) {
    return Case{kXml, xml_put(parameter(key, text)), "[put|{\"" + key + "\": " + json + "}]"};
  };
  expect_all({
      value("s", "null", "\"null\""),
      value("s", "5", "\"5\""),
      value("s", "{\"a\": 1}", R"("{\"a\": 1}")"),
      value("i", "5", "5"),
      value("i", " -12345678901234567890123 ", "-12345678901234567890123"),
      value("i", "five", "\"five\""),
      value("i", "5 apples", "\"5 apples\""),
      value("i", "007", "\"007\""),
      value("i", "", "\"\""),
      value("i", "null", "null"),
      value("i", "None", "null"),
      value("i", "Nonesuch", "\"Nonesuch\""),
      value("i", "-", "\"-\""),
      value("n", "1.5e3", "1.5e3"),
      value("n", "1.", "\"1.\""),
      value("n", "1e999", "\"1e999\""),
      value("n", "NaN", "\"NaN\""),
      value("b", "true", "true"),
      value("b", "True", "true"),
      value("b", "False ", "false"),
      value("b", "yes", "\"yes\""),
      value("b", "tru", "\"tru\""),
      value("z", "null", "null"),
      value("o", "{\"k\": [1, {}], \"é\": \"<b>\"}", "{\"k\": [1, {}], \"é\": \"<b>\"}"),
      value("o", "{'k': 1}", "\"{'k': 1}\""),
      value("o", "{\"k\": 1,\n \"k\": 2}", R"("{\"k\": 1,\n \"k\": 2}")"),
      value("o", "{\"k\": 1} x", R"("{\"k\": 1} x")"),
      value("o", "{\n  \"k\": 1\n}", "{\n  \"k\": 1\n}"),
      value("a", "[1, \"</parameter>\"]", "[1, \"</parameter>\"]"),
      value("a", "[1,", "\"[1,\""),
      value("place", "{}", "{}"),
      value("level", "2", "2"),
      value("maybe", "null", "null"),
      value("maybe", "nullable", "\"nullable\""),
      value("maybe", "5", "\"5\""),
      value("maybe", "None", "\"None\""),
      value("any", "5", "5"),
      value("any", "{}", "{}"),
      value("any", "[1]", "\"[1]\""),
      value("any", "\"q\"", R"("\"q\"")"),
      value("any", "word", "\"word\""),
      value("any", "true", "\"true\""),
      value("free", "5", "\"5\""),
      value("unknown", "5", "\"5\""),
  });
}

TEST(ToolParser, XmlValuesThatHoldTags) {
  expect_all({
      {kXml, xml_put(parameter("s", "a </parameter> b")), R"([put|{"s": "a </parameter> b"}])"},
      {kXml, xml_put(parameter("s", "</parameter")), R"([put|{"s": "</parameter"}])"},
      {kXml, xml_put(parameter("s", "x\n</parameter>\ny")), R"([put|{"s": "x\n</parameter>\ny"}])"},
      {kXml, xml_put(parameter("s", "<tool_call>\n<function=now>\n</tool_call>")),
       R"([put|{"s": "<tool_call>\n<function=now>\n</tool_call>"}])"},
      {kXml, xml_put(parameter("s", "<parameter=zz>\n</function> <think></think>")),
       R"([put|{"s": "<parameter=zz>\n</function> <think></think>"}])"},
      {kXml, xml_put(parameter("s", "a\n</function>\nb")), R"([put|{"s": "a\n</function>\nb"}])"},
      {kXml, xml_put(parameter("s", "</parameter>" + std::string(70, ' ') + "</function>x")),
       "[put|{\"s\": \"</parameter>" + std::string(70, ' ') + "</function>x\"}]"},
  });
}

TEST(ToolParser, XmlSlips) {
  const std::string s_a = "<parameter=s>\na\n";
  expect_all({
      // </parameter> left out
      {kXml, xml_put(s_a + "<parameter=i>\n3\n</parameter>\n"), R"([put|{"s": "a", "i": 3}])"},
      {kXml, xml_put(s_a), R"([put|{"s": "a"}])"},
      {kXml, xml_put(s_a) + "\n" + xml_put(s_a), R"([put|{"s": "a"}][put|{"s": "a"}])"},
      {kXml, "<tool_call>\n<function=put>\n" + s_a + "</tool_call>\n" + xml_put(""), R"([put|{"s": "a"}][put|{}])"},
      {kXml, "<tool_call>\n<function=put>\n" + s_a + "</tool_call>", R"([put|{"s": "a"}])"},
      // </function>, </tool_call> or <tool_call> left out
      {kXml, "<tool_call>\n<function=put>\n" + parameter("s", "a") + "</tool_call> more", R"([put|{"s": "a"}]C{ more})"},
      {kXml, "<tool_call>\n<function=put>\n" + parameter("s", "a") + "</function>\nmore", R"([put|{"s": "a"}]C{
more})"},
      {kXml, "Well\n<function=put>\n" + parameter("s", "a") + "</function>\n</tool_call>\n", R"(C{Well}[put|{"s": "a"}])"},
      {kXml, "say <function=now></function>", "C{say <function=now></function>}"},
      {kXml, "<tool_call>\n<function=now>\n</function>\n<function=now>\n</function>\n</tool_call>", "[now|{}][now|{}]"},
      // the text ends
      {kXml, "<tool_call>\n<function=put>\n" + s_a + "</para", R"([put|{"s": "a\n</para"}!)"},
      {kXml, "<tool_call>\n<function=put>\n" + s_a, "[put|{\"s\": \"a\\n\"}!"},
      {kXml, "<tool_call>\n<function=put>\n<parameter=s>", R"([put|{"s": ""}!)"},
      {kXml, "<tool_call>\n<function=put>\n<parameter=i>\n12", R"([put|{"i": 12}!)"},
      {kXml, "<tool_call>\n<function=put>\n<parameter=o>\n{\"a\": ", "[put|{\"o\": \"{\\\"a\\\": \"}!"},
      {kXml, "<tool_call>\n<function=put>\n" + parameter("s", "a"), R"([put|{"s": "a"}!)"},
      {kXml, "<tool_call>\n<function=put>\n" + parameter("s", "a") + "<param", R"([put|{"s": "a"}!C{<param})"},
      {kXml, "<tool_call>\n<function=put>\n" + parameter("s", "a") + "</function>\n</tool_c", "[put|{\"s\": \"a\"}]C{\n</tool_c}"},
      // a parameter twice
      {kXml, xml_put(parameter("s", "a") + parameter("s", "b")),
       "[put|{\"s\": \"a\"}!C{<parameter=s>\nb\n</parameter>\n</function>\n</tool_call>}"},
  });
}

TEST(ToolParser, JsonCalls) {
  const std::string put = R"(<tool_call>
{"name": "put", "arguments": {"s": "a"}}
</tool_call>)";
  expect_all({
      {kJson, put, R"([put|{"s": "a"}])"},
      {kJson, "I look.\n" + put + "\n" + put + "\n", R"(C{I look.}[put|{"s": "a"}][put|{"s": "a"}])"},
      {kJson, put + "\nbetween " + put, "[put|{\"s\": \"a\"}]C{\nbetween}[put|{\"s\": \"a\"}]"},
      {kJsonThinking, "hm\n</think>\n\n" + put, R"(R{hm}[put|{"s": "a"}])"},
      {kJson, R"(<tool_call>{"name":"put","arguments":{"a":[1,-2.5e+3,{"b":[]}],"t":true,"f":false,"z":null}}</tool_call>)",
       R"([put|{"a": [1, -2.5e+3, {"b": []}], "t": true, "f": false, "z": null}])"},
      {kJson, "<tool_call>\n{\n  \"name\": \"put\",\n  \"arguments\": {\n    \"s\": \"é\\n\\u00e9\\\\\"\n  }\n}\n</tool_call>",
       R"([put|{"s": "é\n\u00e9\\"}])"},
      {kJson, R"(<tool_call>{"arguments": {"s": 1}, "name": "put"}</tool_call>!)", R"([put|{"s": 1}]C{!})"},
      {kJson, R"(<tool_call>{"id": 7, "x": {"name": "y"}, "name": "put", "arguments": {}}</tool_call>)", "[put|{}]"},
      {kJson, R"(<tool_call>{"name": "put", "arguments": "{\"s\": [1]}"}</tool_call>)", R"([put|{"s": [1]}])"},
      {kJson, R"(<tool_call>{"name": "now", "arguments": null}</tool_call><tool_call>{"name": "now"}</tool_call>)",
       "[now|{}][now|{}]"},
      {kJson, R"(<tool_call>{"name": "\u5199", "arguments": {"文": "字"}}</tool_call>)", R"([写|{"文": "字"}])"},
      {kJson, R"(<tool_call>{"name": "put", "arguments": {"s": "</tool_call> } <tool_call>{\"name\""}}</tool_call>)",
       R"([put|{"s": "</tool_call> } <tool_call>{\"name\""}])"},
  });
}

TEST(ToolParser, JsonSlips) {
  const std::string begin = R"(<tool_call>{"name": "put", "arguments": )";
  expect_all({
      {kJson, begin + "{\"s\": 1}\n</tool_call>", R"([put|{"s": 1}])"},
      {kJson, begin + "{\"s\": 1}}", R"([put|{"s": 1}])"},
      {kJson, begin + "{\"s\": 1}", R"([put|{"s": 1}])"},
      {kJson, begin + "{\"s\": 1}}} x", R"([put|{"s": 1}]C{} x})"},
      {kJson, begin + "{\"s\": 1}, \"id\": 3}</tool_call>", R"([put|{"s": 1}]C{, "id": 3}</tool_call>})"},
      {kJson, begin + "{\"s\": [1,], }}</tool_call>", R"([put|{"s": [1]}])"},
      {kJson, begin + "{\"s\": \"a\nb\tc\"}}</tool_call>", R"([put|{"s": "a\nb\tc"}])"},
      {kJson, begin + R"({"s": "\d \u12 \' \ud83d\ude42 \ud83d \ude42"}}</tool_call>)",
       R"([put|{"s": "\\d \\u12 \\' \ud83d\ude42 \ufffd \ufffd"}])"},
      // broken
      {kJson, begin + "{\"s\": 1, t: 2}}\n</tool_call>", "[put|{\"s\": 1}!C{t: 2}}\n</tool_call>}"},
      {kJson, begin + "{\"s\": {\"a\": [1}}</tool_call>", R"([put|{"s": {"a": [1]}}!C{}}</tool_call>})"},
      {kJson, begin + "{\"s\": {\"a\": 1</tool_call>", R"([put|{"s": {"a": 1}}!)"},
      {kJson, begin + "{\"s\": tru, 1}", "[put|{\"s\": true}!C{, 1}}"},
      {kJson, begin + "{\"s\": -}",
       R"([put|{"s": -0}!C{})"
       "}"},
      {kJson, begin + "{'s': 1}}", R"([put|{}!C{'s': 1}}})"},
      // the text ends
      {kJson, begin + "{", "[put|{}!"},
      {kJson, begin + "{\"s", R"([put|{"s": null}!)"},
      {kJson, begin + "{\"s\"", R"([put|{"s": null}!)"},
      {kJson, begin + "{\"s\":", R"([put|{"s": null}!)"},
      {kJson, begin + "{\"s\": \"a\\", R"([put|{"s": "a\\"}!)"},
      {kJson, begin + "{\"s\": \"a\\u00", R"([put|{"s": "a\\u00"}!)"},
      {kJson, begin + "{\"s\": [1, 2.", R"([put|{"s": [1, 2.0]}!)"},
      {kJson, begin + "{\"s\": [1, ", R"([put|{"s": [1]}!)"},
      {kJson, begin + "{\"s\": \"</tool_call>\n", R"([put|{"s": "</tool_call>\n"}!)"},
  });
}

TEST(ToolParser, WhatIsNoCallIsContent) {
  const std::vector<std::string> xml = {"<tool_call>",
                                        "<tool_call",
                                        "<tool_call>\n\n",
                                        "<tool_call>\n<function=",
                                        "<tool_call>\n<function=put",
                                        "<tool_call>\n<function=put>\n",
                                        "<tool_call>\n<function=put>\n<parameter=s",
                                        "<tool_call>\n<function=put>\ntext",
                                        "<tool_call>\n<function=other>\n</function>\n</tool_call>",
                                        "<tool_call>\n<function=>\n</function>",
                                        "<tool_call>\n<function=" + std::string(300, 'f') + ">\n</function>\n</tool_call>",
                                        "<tool_call>" + std::string(65, ' ') + "<function=now></function>",
                                        "Write <tool_call> and </tool_call>. \n",
                                        "</tool_call>",
                                        "</function>",
                                        "<tool_call>\n{\"name\": \"put\", \"arguments\": {}}\n</tool_call>",
                                        "<function=now>",
                                        "<function=now>\n</tool_call>",
                                        "<parameter=s>\nx\n</parameter>",
                                        "<tool_callback>",
                                        "a < b <= c <tool <function",
                                        std::string(100, ' ') + "\n \t"};
  for (const std::string& text : xml) expect_transcript(text, {kXml, test_tools()}, "C{" + text + "}");
  const std::string long_name(300, 'f');
  const std::vector<std::string> json = {"<tool_call>",
                                         "<tool_call>\n",
                                         "<tool_call>{",
                                         "<tool_call>{\"name\": \"put\", \"argu",
                                         "<tool_call>{\"name\": \"put\", \"arguments\":",
                                         "<tool_call>{\"name\": \"other\", \"arguments\": {}}</tool_call>",
                                         "<tool_call>{\"name\": \"" + long_name + "\", \"arguments\": {}}</tool_call>",
                                         "<tool_call>{\"" + long_name + "\": 1, \"name\": \"now\"}</tool_call>",
                                         "<tool_call>{}</tool_call>",
                                         "<tool_call>[1]</tool_call>",
                                         "<tool_call>{\"name\": 5}</tool_call>",
                                         "<tool_call>{\"arguments\": {}}</tool_call>",
                                         "<tool_call>{\"name\": \"put\", \"arguments\": [1]}</tool_call>",
                                         "<tool_call>{\"name\": \"put\", \"arguments\": \"text\"}</tool_call>",
                                         "<tool_call>{\"name\": \"put\", \"arguments\": \"{} x\"}</tool_call>",
                                         "<tool_call>{\"name\": \"put\", \"name\": \"now\"}</tool_call>",
                                         "<tool_call>{\"arguments\": {}, \"name\": \"put\", \"arguments\": {}}</tool_call>",
                                         "<tool_call>{\"arguments\": {\"a\": x}, \"name\": \"put\"}</tool_call>",
                                         "<tool_call>{'name': 'put'}</tool_call>",
                                         "<tool_call>{name: \"put\"}</tool_call>",
                                         "<tool_call>\n<function=now>\n</function>\n</tool_call>",
                                         "<function=now></function>"};
  for (const std::string& text : json) expect_transcript(text, {kJson, test_tools()}, "C{" + text + "}");
}

TEST(ToolParser, ACallBehindWhatIsNone) {
  expect_all({
      {kXml, "<tool_call>\n<tool_call>\n<function=now>\n</function>\n</tool_call>\n</tool_call>",
       "C{<tool_call>}[now|{}]C{\n</tool_call>}"},
      {kXml, "<tool_call>\n<function=other>\n<parameter=s>\n" + xml_put("") + "\n",
       "C{<tool_call>\n<function=other>\n<parameter=s>}[put|{}]"},
      {kJson, R"(<tool_call>{"name": <tool_call>{"name": "now"}</tool_call>)", R"(C{<tool_call>{"name":}[now|{}])"},
      {kJson, R"(<tool_call>{"s": "<tool_call>{"name": "now"}</tool_call>)", R"(C{<tool_call>{"s": "}[now|{}])"},
  });
}

TEST(ToolParser, CallsInReasoning) {
  expect_all({
      {kXmlThinking, "I call it.\n" + xml_put("") + "\n</think>\n\nDone", "R{I call it.}[put|{}]C{Done}"},
      {kXmlThinking, xml_put(""), "[put|{}]"},
      {kXmlThinking, "I call it.\n" + xml_put("") + "\nDone</think></think>", "R{I call it.}[put|{}]C{\nDone</think>}"},
      {kXmlThinking, "Write <tool_call>\n<function=now>\n</function> or\n<tool_call>... or\n<function=now>\n</function>\n</think>",
       "R{Write <tool_call>\n<function=now>\n</function> or\n<tool_call>... or\n<function=now>\n</function>}"},
      {kJsonThinking, "So\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>", "R{So}[now|{}]"},
      {kJsonThinking, "So\n<tool_call>\n{\"name\": x\n</think>\n", "R{So\n<tool_call>\n{\"name\": x}"},
  });
}

TEST(ToolParser, WithoutToolsAllIsContent) {
  const std::string xml = xml_put(parameter("s", "x")) + "\n",
                    json = "<tool_call>\n{\"name\": \"put\", \"arguments\": {}}\n</tool_call>\n";
  for (const boost::json::value& none : {boost::json::value(), boost::json::value(boost::json::array()), boost::json::value(5)}) {
    expect_transcript(xml, {kXml, none}, "C{" + xml + "}");
    expect_transcript(json, {kJson, none}, "C{" + json + "}");
    expect_transcript(xml + "</think>", {kXmlThinking, none}, "R{" + xml.substr(0, xml.size() - 1) + "}");
  }
  expect_transcript(xml, {kPlain, test_tools()}, "C{" + xml + "}");
}

// The events of one push.
std::string pushed(OutputParser& parser, std::string_view text) {
  Transcript part;
  std::string all;
  for (const OutputEvent& event : parser.push(text)) {
    if (const auto* content = std::get_if<ContentDelta>(&event)) all += "C" + content->text;
    if (const auto* start = std::get_if<ToolCallStart>(&event)) all += "S" + start->name;
    if (const auto* arguments = std::get_if<ToolArgumentsDelta>(&event)) all += "A" + arguments->json;
    if (std::get_if<ToolCallEnd>(&event)) all += "E";
  }
  return all;
}

TEST(ToolParser, ArgumentsStream) {
  OutputParser xml(kXml, test_tools());
  EXPECT_EQ(pushed(xml, "Hi <b"), "CHi <b");
  EXPECT_EQ(pushed(xml, ">\n<tool_call>\n<function=put>\n"), "C>");
  EXPECT_EQ(pushed(xml, "<parameter=s>"), "SputA{\"s\": \"");
  EXPECT_EQ(pushed(xml, "\nab"), "Aab");
  EXPECT_EQ(pushed(xml, "c \"\n"), "Ac \\\"");
  EXPECT_EQ(pushed(xml, "d <"), "A\\nd ");
  EXPECT_EQ(pushed(xml, "/par"), "");
  EXPECT_EQ(pushed(xml, "is>\n</parameter>\n"), "A</paris>");
  EXPECT_EQ(pushed(xml, "<parameter=o>\n{\"a\""), "A\", \"o\": ");
  EXPECT_EQ(pushed(xml, ": 1}\n</parameter>\n</function>"), "A{\"a\": 1}}E");
  EXPECT_EQ(pushed(xml, "\n</tool_call>"), "");
  OutputParser typed(kXml, test_tools());
  pushed(typed, "<function=put>\n<parameter=o>\n");
  EXPECT_EQ(pushed(typed, "{}"), "");
  EXPECT_EQ(pushed(typed, " x"), "A\"{} x");
  OutputParser json(kJson, test_tools());
  EXPECT_EQ(pushed(json, "<tool_call>\n{\"name\": \"put\", \"arguments\": "), "");
  EXPECT_EQ(pushed(json, "{"), "SputA{");
  EXPECT_EQ(pushed(json, "\"s\": \"a"), "A\"s\": \"a");
  EXPECT_EQ(pushed(json, "b\", \"n\": 1"), "Ab\", \"n\": 1");
  EXPECT_EQ(pushed(json, "2}}"), "A2}E");
}

TEST(ToolParser, LongNamesAreNotWaitedFor) {
  const std::string name(300, 'f');
  OutputParser parser(kXml, test_tools());
  EXPECT_EQ(pushed(parser, "<function=" + name), "C<function=" + name);
}

TEST(ToolParser, LongSpaceIsKept) {
  const std::string more(100, ' ');
  expect_all({
      {kXml, "a" + more + xml_put(""), "C{a" + std::string(36, ' ') + "}[put|{}]"},
      {kXml, xml_put("") + more, "[put|{}]C{" + more + "}"},
      {kXml, xml_put(parameter("b", "True" + more + more)), "[put|{\"b\": \"True" + more + more + "\"}]"},
  });
}

TEST(ToolParser, LargeValues) {
  const std::string megabyte(size_t(1) << 20, 'x');
  const Setting xml{kXml, test_tools()};
  EXPECT_EQ(transcript(xml_put(parameter("s", megabyte)), xml).text(), "[put|{\"s\": \"" + megabyte + "\"}]");
  EXPECT_EQ(transcript(xml_put(parameter("o", "{\"a\": \"" + megabyte + "\"}")), xml).text(),
            "[put|{\"o\": {\"a\": \"" + megabyte + "\"}}]");
  const std::string huge(kMaxHeldBytes, ' ');
  const std::string held = xml_put(parameter("a", "[" + huge + "]"));
  EXPECT_EQ(transcript(held, xml).text(), "[put|{\"a\": \"[" + huge + "]\"}]");
  EXPECT_EQ(transcript(held, xml, {1000, 2000, kMaxHeldBytes}).text(), transcript(held, xml).text());
  const Setting json{kJson, test_tools()};
  const std::string late = "<tool_call>{\"arguments\": {\"s\": \"" + megabyte + "\"}, \"name\": \"put\"}";
  EXPECT_EQ(transcript(late, json).text(), "[put|{\"s\": \"" + megabyte + "\"}]");
  const std::string too_late = "<tool_call>{\"arguments\": {\"s\": 1" + huge + "}, \"name\": \"put\"}";
  EXPECT_EQ(transcript(too_late, json).text(), "C{" + too_late + "}");
  EXPECT_EQ(transcript(too_late, json, {50, kMaxHeldBytes}).text(), "C{" + too_late + "}");
}

TEST(ToolParser, ManyParameters) {
  std::string parameters, wanted = "[put|{";
  for (int i = 0; i < 1024; ++i) {
    parameters += parameter("p" + std::to_string(i), "v");
    wanted += (i ? ", \"p" : "\"p") + std::to_string(i) + "\": \"v\"";
  }
  const Setting setting{kXml, test_tools()};
  EXPECT_EQ(transcript(xml_put(parameters), setting).text(), wanted + "}]");
  EXPECT_EQ(transcript(xml_put(parameters + parameter("more", "v")), setting).text(),
            wanted + "}!C{" + parameter("more", "v") + "</function>\n</tool_call>}");
}

TEST(ToolParser, DeepArguments) {
  const auto nested = [](int depth) { return "{\"a\": " + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}"; };
  const std::string begin = "<tool_call>{\"name\": \"put\", \"arguments\": ";
  const Setting setting{kJson, test_tools()};
  EXPECT_EQ(transcript(begin + nested(64) + "}", setting).text(), "[put|" + nested(64) + "]");
  const Transcript broken = transcript(begin + nested(65) + "}", setting);
  EXPECT_EQ(broken.text(), "[put|" + nested(64) + "!C{[" + std::string(64, ']') + "}}}");
}

TEST(ToolParser, TheWholeText) {
  const std::string text =
      "<think>\nhm\n</think>\n\nLook.\n" + xml_put(parameter("s", "x")) + "\n<tool_call>\n<function=put>\n<parameter=i>\n4";
  const ParsedOutput output = parse_output(text, kXml, test_tools());
  EXPECT_EQ(output.reasoning, "hm");
  EXPECT_EQ(output.content, "Look.");
  ASSERT_EQ(output.calls.size(), 2u);
  EXPECT_EQ(output.calls[0].name, "put");
  EXPECT_EQ(output.calls[0].arguments, "{\"s\": \"x\"}");
  EXPECT_TRUE(output.calls[0].complete);
  EXPECT_EQ(output.calls[1].arguments, "{\"i\": 4}");
  EXPECT_FALSE(output.calls[1].complete);
}

TEST(ToolParser, AfterTheEnd) {
  OutputParser parser(kXml, test_tools());
  EXPECT_EQ(pushed(parser, "a "), "Ca");
  EXPECT_EQ(parser.finish().size(), 1u);
  EXPECT_TRUE(parser.push("b").empty());
  EXPECT_TRUE(parser.finish().empty());
}

TEST(ToolSchema, Types) {
  const auto types = [](const std::string& schema) {
    const ToolSchemas tools(
        boost::json::parse(R"([{"name": "f", "parameters": {"$defs": {"L": {"$ref": "#/$defs/L"}, "S": {"type": "string"}},
        "definitions": {"A": {"items": {}}}, "properties": {"p": )" +
                           schema + "}}}]"));
    return int(tools.find("f")->parameters.at("p"));
  };
  EXPECT_EQ(types(R"({"type": "integer"})"), kJsonNumber);
  for (const auto& [name, type] : std::initializer_list<std::pair<std::string, int>>{{"string", kJsonString},
                                                                                     {"number", kJsonNumber},
                                                                                     {"int", kJsonNumber},
                                                                                     {"float", kJsonNumber},
                                                                                     {"boolean", kJsonBoolean},
                                                                                     {"bool", kJsonBoolean},
                                                                                     {"null", kJsonNull},
                                                                                     {"object", kJsonObject},
                                                                                     {"dict", kJsonObject},
                                                                                     {"array", kJsonArray},
                                                                                     {"list", kJsonArray}})
    EXPECT_EQ(types(R"({"type": ")" + name + "\"}"), type) << name;
  EXPECT_EQ(types(R"({"type": ["boolean", "null", 5]})"), kJsonBoolean | kJsonNull);
  EXPECT_EQ(types(R"({"type": 5, "const": "a"})"), kJsonString);
  EXPECT_EQ(types(R"({"type": "string", "nullable": true})"), kJsonString | kJsonNull);
  EXPECT_EQ(types(R"({"type": "string", "nullable": false})"), kJsonString);
  EXPECT_EQ(types(R"({"nullable": true})"), 0);
  EXPECT_EQ(types(R"({"type": "blob"})"), 0);
  EXPECT_EQ(types(R"({"enum": ["a", null]})"), kJsonString | kJsonNull);
  EXPECT_EQ(types(R"({"enum": [1.5, false, {}]})"), kJsonNumber | kJsonBoolean | kJsonObject);
  EXPECT_EQ(types(R"({"enum": "a", "anyOf": 5, "$ref": 5})"), 0);
  EXPECT_EQ(types(R"({"const": [1]})"), kJsonArray);
  EXPECT_EQ(types(R"({"oneOf": [{"type": "object"}, {"allOf": [{"type": "array"}]}]})"), kJsonObject | kJsonArray);
  EXPECT_EQ(types(R"({"properties": {}})"), kJsonObject);
  EXPECT_EQ(types(R"({"items": {}})"), kJsonArray);
  EXPECT_EQ(types(R"({"$ref": "#/$defs/S"})"), kJsonString);
  EXPECT_EQ(types(R"({"$ref": "#/definitions/A"})"), kJsonArray);
  EXPECT_EQ(types(R"({"$ref": "#/$defs/L"})"), 0);
  EXPECT_EQ(types(R"({"$ref": "#/$defs/none"})"), 0);
  EXPECT_EQ(types(R"({"$ref": "#/properties/p"})"), 0);
  EXPECT_EQ(types("true"), 0);
  std::string wide = R"({"type": "number"})";
  for (int i = 0; i < 10; ++i) wide = "{\"anyOf\": [" + wide + ", " + wide + "]}";
  EXPECT_EQ(types(wide), kJsonNumber);
}

TEST(ToolSchema, WhatIsPassedOver) {
  const ToolSchemas tools(boost::json::parse(
      R"([5, {}, {"name": 5}, {"name": ""}, {"function": {"name": "f", "parameters": 5}}, {"name": "f", "parameters":
      {"properties": {"p": {"type": "string"}}}}, {"name": "g", "parameters": {"properties": []}}])"));
  ASSERT_NE(tools.find("f"), nullptr);
  EXPECT_TRUE(tools.find("f")->parameters.empty());
  EXPECT_NE(tools.find("g"), nullptr);
  EXPECT_EQ(tools.find(""), nullptr);
  EXPECT_TRUE(ToolSchemas(boost::json::value()).empty());
}

}  // namespace
}  // namespace sluice::testing
