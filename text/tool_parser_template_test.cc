// Calls rendered by chat templates and read back.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <random>

#include "io/json.h"
#include "text/chat.h"
#include "text/tool_parser.h"
#include "text/tool_parser_test_support.h"

namespace sluice::testing {
namespace {

namespace json = boost::json;

const std::string kOracles = SLUICE_TEST_DATA "/oracles/tokenizer";

std::string read(const std::string& path) {
  auto text = read_small_file(path, size_t(64) << 20);
  EXPECT_TRUE(text.ok()) << text.status().to_string();
  return text.ok() ? *text : "";
}

std::string template_a() {
  const auto config = parse_json(read(kOracles + "/tokenizer_config.json"), "tokenizer_config.json");
  return config.ok() ? std::string(config->at("chat_template").as_string()) : "";
}
std::string template_b() { return read(kOracles + "/chat_template_b.jinja"); }

TEST(ToolTemplates, Formats) {
  EXPECT_EQ(tool_format(template_a()), ToolFormat::kHermesJson);
  EXPECT_EQ(tool_format(template_b()), ToolFormat::kQwenXml);
  EXPECT_EQ(tool_format(read(SLUICE_SOURCE_DIR "/demo/model/chat_template.jinja")), ToolFormat::kNone);
  EXPECT_EQ(tool_format(""), ToolFormat::kNone);
  EXPECT_EQ(tool_format(R"("<tool_call>\n{\"name\": <name>, \"arguments\": <object>}\n</tool_call>")"), ToolFormat::kHermesJson);
  EXPECT_EQ(tool_format("<tool_call>{name}\n<arg_key>{key}</arg_key>{% set a = tc.arguments %}"), ToolFormat::kNone);  // GLM-4.5
}

// What a model would write to say `message`: the rendered message behind the generation prompt.
struct Spoken {
  OutputFormat format;
  std::string text;
};

Spoken spoken(const std::string& source, const json::object& message, const json::value& tools) {
  const auto chat = ChatTemplate::parse(source);
  EXPECT_TRUE(chat.ok()) << chat.status().to_string();
  json::array messages = {{{"role", "user"}, {"content", "go"}}};
  const auto prompt = chat->render(messages, tools, true, {});
  messages.push_back(message);
  const auto all = chat->render(messages, tools, false, {});
  EXPECT_TRUE(prompt.ok()) << prompt.status().to_string();
  EXPECT_TRUE(all.ok()) << all.status().to_string();
  if (!prompt.ok() || !all.ok()) return {};
  EXPECT_TRUE(all->text.starts_with(prompt->text)) << all->text;
  const std::string end = "<|im_end|>\n";
  EXPECT_TRUE(all->text.ends_with(end));
  return {{tool_format(source), reasoning_of(source, prompt->text)},
          all->text.substr(prompt->text.size(), all->text.size() - prompt->text.size() - end.size())};
}

json::object call(const std::string& name, const json::object& arguments) {
  return {{"type", "function"}, {"function", {{"name", name}, {"arguments", arguments}}}};
}

void expect_round_trip(const std::string& source, const std::string& reasoning, const std::string& content,
                       const json::array& calls) {
  const json::object message = {
      {"role", "assistant"}, {"reasoning_content", reasoning}, {"content", content}, {"tool_calls", calls}};
  const json::value tools = test_tools();
  const Spoken answer = spoken(source, message, tools);
  const ParsedOutput output = parse_output(answer.text, answer.format, tools);
  EXPECT_EQ(output.reasoning, reasoning) << answer.text;
  EXPECT_EQ(output.content, content) << answer.text;
  ASSERT_EQ(output.calls.size(), calls.size()) << answer.text;
  for (size_t i = 0; i < calls.size(); ++i) {
    const json::object& wanted = calls[i].at("function").as_object();
    EXPECT_EQ(output.calls[i].name, wanted.at("name").as_string());
    EXPECT_TRUE(output.calls[i].complete) << answer.text;
    const auto arguments = parse_json(output.calls[i].arguments, "arguments");
    ASSERT_TRUE(arguments.ok()) << arguments.status().to_string();
    EXPECT_EQ(*arguments, wanted.at("arguments")) << answer.text;
  }
  const Setting setting{answer.format, tools};
  EXPECT_EQ(transcript(answer.text, setting, places_between_characters(answer.text)).text(),
            transcript(answer.text, setting).text());
}

TEST(ToolTemplates, OneCall) {
  for (const std::string& source : {template_a(), template_b()}) {
    expect_round_trip(source, "I think.", "I say.", {call("put", {{"s", "x"}, {"i", 5}})});
    expect_round_trip(source, "I think.", "", {call("now", {}), call("put", {{"o", json::object{{"k", {1, nullptr}}}}})});
    expect_round_trip(source, "I think.\n\nTwice.", "", {call("写", {{"文", "字\n🙂"}})});
  }
}

using Random = std::mt19937;

std::string random_string(Random& random) {
  static const std::vector<std::string> pieces = {"a",
                                                  "word ",
                                                  "\n",
                                                  "\n\n",
                                                  " ",
                                                  "é",
                                                  "日本",
                                                  "🙂",
                                                  "\"",
                                                  "\\",
                                                  "\\n",
                                                  "\\u00e9",
                                                  "{",
                                                  "}",
                                                  "[1]",
                                                  ":",
                                                  ",",
                                                  "'",
                                                  "<",
                                                  ">",
                                                  "</",
                                                  "<b>",
                                                  "</b>",
                                                  "<think>",
                                                  "</think>",
                                                  "<tool_call>",
                                                  "null",
                                                  "true",
                                                  "5",
                                                  "-1.5",
                                                  "None",
                                                  "\t",
                                                  "\r",
                                                  "\x01",
                                                  "\x7F",
                                                  "&amp;",
                                                  "</parameter> ",
                                                  "</parameter>.",
                                                  "<function=now>",
                                                  "</function",
                                                  "\"name\": \"now\", \"arguments\": {}",
                                                  "\xEF\xBF\xBF",
                                                  std::string(1, '\0')};
  std::string text;
  for (unsigned n = random() % 8; n > 0; --n) text += pieces[random() % pieces.size()];
  return text;
}

json::value random_number(Random& random) {
  switch (random() % 4) {
    case 0:
      return int64_t(random()) - (int64_t(1) << 31);
    case 1:
      return INT64_MIN;
    case 2:
      return INT64_MAX;
    default:
      return double(random()) / 1024;
  }
}

json::value random_value(Random& random, int depth) {
  switch (random() % (depth > 0 ? 6 : 4)) {
    case 0:
      return json::value(random_string(random));
    case 1:
      return random_number(random);
    case 2:
      return random() % 2 == 0;
    case 3:
      return nullptr;
    case 4: {
      json::array array;
      for (unsigned n = random() % 4; n > 0; --n) array.push_back(random_value(random, depth - 1));
      return array;
    }
    default: {
      json::object object;
      for (unsigned n = random() % 4; n > 0; --n) object[random_string(random)] = random_value(random, depth - 1);
      return object;
    }
  }
}

TEST(ToolTemplates, RandomArgumentsInJson) {
  Random random(1);
  const std::string source = template_a();
  for (int i = 0; i < 300; ++i) {
    json::array calls;
    for (unsigned n = 1 + random() % 3; n > 0; --n) {
      json::object arguments;
      for (unsigned m = random() % 4; m > 0; --m) arguments[random_string(random)] = random_value(random, 3);
      calls.push_back(call("put", arguments));
    }
    expect_round_trip(source, "I think.", i % 2 ? "I say." : "", calls);
  }
}

// As the schema of test_tools() has the parameters: in XML the type is not in the text.
TEST(ToolTemplates, RandomArgumentsInXml) {
  Random random(2);
  const std::string source = template_b();
  for (int i = 0; i < 300; ++i) {
    json::array calls;
    for (unsigned n = 1 + random() % 3; n > 0; --n) {
      json::object arguments;
      const auto maybe = [&](const char* key, const auto& value) {
        if (random() % 3 == 0) arguments[key] = value();
      };
      const auto string = [&] { return json::value(random_string(random)); };
      maybe("s", string);
      maybe("i", [&] { return random_number(random); });
      maybe("s2", string);
      maybe("b", [&] { return json::value(random() % 2 == 0); });
      maybe("z", [&] { return json::value(nullptr); });
      maybe("o", [&] { return json::value(json::object{{random_string(random), random_value(random, 3)}}); });
      maybe("a", [&] { return json::value(json::array{random_value(random, 3)}); });
      maybe("maybe", [&] { return random() % 2 ? json::value(nullptr) : json::value(random_string(random) + "."); });
      maybe("any", [&] { return random() % 2 ? random_number(random) : json::value("a" + random_string(random)); });
      maybe("free", string);
      maybe("not declared", string);
      calls.push_back(call("put", arguments));
    }
    expect_round_trip(source, "I think.", i % 2 ? "I say." : "", calls);
  }
}

}  // namespace
}  // namespace sluice::testing
