// Items of a response's input, held to the same conversation in the shape of chat.
#include "server/response_input.h"

#include "server/test_service.h"

namespace sluice::testing {
namespace {

namespace json = boost::json;

class ResponseInputs : public ::testing::Test {
 protected:
  std::unique_ptr<Service> service = demo_service(xml_template());

  template <class Read, class Render>
  std::string render(const std::string& body, Read read, Render render_input) {
    const json::object o = json_of(body).as_object();
    MaybeError error;
    ChatInput input = read(RequestFields(o, error), *service);
    ChatPrompt prompt;
    if (!error) error = render_input(input, *service, prompt);
    return error ? std::to_string(error->status) + " " + error->param : service->tokenizer().decode(prompt.ids, false);
  }
  std::string of_items(const std::string& body) { return render(body, read_response_input, render_chat); }
  void expect_same(const std::string& items, const std::string& messages) {
    const std::string text = of_items(items);
    EXPECT_EQ(text, render(messages, read_chat_input, render_chat));
    EXPECT_NE(text.find("<|im_start|>user\n"), std::string::npos) << text;
  }
};

TEST_F(ResponseInputs, Texts) {
  const std::string go = R"({"messages": [{"role": "user", "content": "go"}]})";
  expect_same(R"({"input": "go"})", go);
  expect_same(R"({"input": [{"role": "user", "content": "go"}]})", go);
  expect_same(
      R"({"input": [{"type": "message", "role": "user", "status": null, "content": [{"type": "input_text", "text": "go"}]}]})", go);
  expect_same(R"({"instructions": "Be brief.", "input": "go"})",
              R"({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "go"}]})");
}

TEST_F(ResponseInputs, SystemMessagesInARowAreOne) {
  expect_same(
      R"({"instructions": "One.", "input": [{"role": "developer", "content": "Two."}, {"role": "system", "content": "Three."},
                  {"role": "user", "content": "go"}]})",
      R"({"messages": [{"role": "system", "content": "One.\n\nTwo.\n\nThree."}, {"role": "user", "content": "go"}]})");
}

TEST_F(ResponseInputs, OneTurnIsOneMessage) {
  const std::string user = R"({"role": "user", "content": "go"})";
  const std::string reasoning =
      R"({"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]})";
  const std::string message = R"({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
      "content": [{"type": "output_text", "text": "I add.", "annotations": []}]})";
  const auto call = [](const std::string& id) {
    return R"({"type": "function_call", "id": "fc_1", "call_id": ")" + id + R"(", "name": "add", "arguments": "{\"a\": 41}"})";
  };
  const auto output = [](const std::string& id) {
    return R"({"type": "function_call_output", "call_id": ")" + id + R"(", "output": "42"})";
  };
  const auto chat_call = [](const std::string& id) {
    return R"({"id": ")" + id + R"(", "type": "function", "function": {"name": "add", "arguments": "{\"a\": 41}"}})";
  };
  const auto chat_output = [](const std::string& id) {
    return R"({"role": "tool", "tool_call_id": ")" + id + R"(", "content": "42"})";
  };
  const auto list = [](const char* key, std::initializer_list<std::string> parts) {
    std::string all;
    for (const std::string& part : parts) all += (all.empty() ? "" : ", ") + part;
    return R"({")" + std::string(key) + R"(": [)" + all + "]}";
  };
  const auto assistant = [](const std::string& more) { return R"({"role": "assistant", )" + more + "}"; };
  expect_same(list("input", {user, reasoning, message, call("c1"), call("c2"), output("c1"), output("c2")}),
              list("messages", {user,
                                assistant(R"("content": "I add.", "reasoning_content": "hm", "tool_calls": [)" + chat_call("c1") +
                                          ", " + chat_call("c2") + "]"),
                                chat_output("c1"), chat_output("c2")}));
  expect_same(
      list("input", {user, reasoning, call("c1"), output("c1")}),
      list("messages", {user, assistant(R"("content": "", "reasoning_content": "hm", "tool_calls": [)" + chat_call("c1") + "]"),
                        chat_output("c1")}));
  // A thought after a message begins the next one; one that no answer follows goes nowhere.
  expect_same(list("input", {user, message, reasoning, call("c1"), output("c1")}),
              list("messages", {user, assistant(R"("content": "I add.")"),
                                assistant(R"("content": "", "reasoning_content": "hm", "tool_calls": [)" + chat_call("c1") + "]"),
                                chat_output("c1")}));
  expect_same(list("input", {user, reasoning, user, message, user}),
              list("messages", {user, user, assistant(R"("content": "I add.")"), user}));
}

TEST_F(ResponseInputs, ASummaryStandsInForReasoning) {
  expect_same(R"({"input": [{"role": "user", "content": "go"}, {"type": "reasoning", "id": "r", "encrypted_content": "x",
                  "summary": [{"type": "summary_text", "text": "hm"}]}, {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}]})",
              R"({"messages": [{"role": "user", "content": "go"}, {"role": "assistant", "reasoning_content": "hm", "tool_calls":
                  [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}]})");
}

TEST_F(ResponseInputs, ToolsAreThoseOfChat) {
  const std::string flat =
      R"({"type": "function", "name": "add", "description": "Adds.", "strict": true, "parameters": {"type": "object"}})";
  const std::string chat =
      R"({"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}})";
  for (const char* choice : {"auto", "none"})
    expect_same(R"({"input": "go", "tool_choice": ")" + std::string(choice) + R"(", "tools": [)" + flat + "]}",
                R"({"messages": [{"role": "user", "content": "go"}], "tool_choice": ")" + std::string(choice) + R"(", "tools": [)" +
                    chat + "]}");
  EXPECT_NE(of_items(R"({"input": "go", "tools": [)" + flat + "]}").find("Adds."), std::string::npos);
}

TEST_F(ResponseInputs, Effort) {
  EXPECT_TRUE(of_items(R"({"input": "go", "reasoning": {"effort": "none"}})").ends_with("</think>\n\n"));
  for (const char* more : {"", R"(, "reasoning": {})", R"(, "reasoning": {"effort": "low", "summary": "auto"})"})
    EXPECT_TRUE(of_items(R"({"input": "go")" + std::string(more) + "}").ends_with("<think>\n")) << more;
  EXPECT_EQ(of_items(R"({"input": "go", "reasoning": {"effort": "huge"}})"), "400 reasoning.effort");
}

// Inputs of messages that have `tokens` tokens each, and some for their form.
class LongInputs : public ResponseInputs {
 protected:
  // "u", "a", "s": a user's, the assistant's, a system message; "c": a call; "r": its result.
  std::string items(const std::string& kinds, size_t tokens) {
    std::string list;
    for (size_t i = 0; i < kinds.size(); ++i) {
      std::string text = std::to_string(i);
      while (service->tokenizer().encode(std::string_view(text), false).size() < tokens) text += " and";
      const auto message = [&](const char* role) {
        return R"({"role": ")" + std::string(role) + R"(", "content": ")" + text + R"("})";
      };
      list += i > 0 ? ", " : "";
      if (kinds[i] == 'u') list += message("user");
      if (kinds[i] == 'a') list += message("assistant");
      if (kinds[i] == 's') list += message("system");
      if (kinds[i] == 'c')
        list += R"({"type": "function_call", "call_id": "c", "name": "f", "arguments": {"x": ")" + text + R"("}})";
      if (kinds[i] == 'r') list += R"({"type": "function_call_output", "call_id": "c", "output": ")" + text + R"("})";
    }
    return R"({"input": [)" + list + "]}";
  }
  // Numbers of the items that are left.
  std::vector<int> left(const std::string& kinds, size_t tokens, int64_t answer = 1) {
    const std::string text =
        render(items(kinds, tokens), read_response_input,
               [&](ChatInput& in, const Service& s, ChatPrompt& out) { return render_newest(in, s, answer, out); });
    std::vector<int> found;
    for (int i = 0; i < int(kinds.size()); ++i)
      if (text.find(std::to_string(i) + " and") != std::string::npos) found.push_back(i);
    return found;
  }
};

using Left = std::vector<int>;

// The context has 512 tokens.
TEST_F(LongInputs, LoseTheirOldestTurns) {
  EXPECT_EQ(left("uauau", 90), (Left{0, 1, 2, 3, 4}));
  EXPECT_EQ(left("uauau", 120), (Left{2, 3, 4}));
  EXPECT_EQ(left("uauauauau", 120), (Left{6, 7, 8})) << "as few as will do";
  EXPECT_EQ(left("uauauauau", 90), (Left{4, 5, 6, 7, 8}));
  EXPECT_EQ(left("suauau", 90), (Left{0, 3, 4, 5})) << "system messages stay";
  EXPECT_EQ(left("uuau", 160), (Left{1, 2, 3}));
}

TEST_F(LongInputs, LeaveRoomForTheAnswer) {
  EXPECT_EQ(left("uauau", 90, 512), (Left{0, 1, 2, 3, 4})) << "what the context holds is not touched";
  EXPECT_EQ(left("uauauauau", 90, 100), (Left{6, 7, 8}));
  EXPECT_EQ(left("uauauauau", 60, 100), (Left{4, 5, 6, 7, 8}));
  EXPECT_EQ(left("uauauauau", 60, 512), (Left{4, 5, 6, 7, 8})) << "a quarter at most";
}

TEST_F(LongInputs, KeepTheLastQuestionAndTheLastStep) {
  EXPECT_EQ(left("uaucrcrcr", 100), (Left{2, 7, 8}));
  EXPECT_EQ(left("ucrcrcr", 45), (Left{0, 3, 4, 5, 6})) << "results go with their calls";
  EXPECT_EQ(left("ucr", 300), (Left{0, 1, 2})) << "is for others to refuse";
  EXPECT_EQ(left("uau", 300), (Left{2}));
}

TEST_F(ResponseInputs, TheTemplatesWordIsAboutTheInput) {
  service = demo_service("{{ raise_exception('no') }}");
  EXPECT_EQ(of_items(R"({"input": "go"})"), "400 input");
}

}  // namespace
}  // namespace sluice::testing
