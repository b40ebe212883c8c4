#include "tests/soak/mix.h"

#include <boost/json.hpp>

#include "bench_client/random.h"
#include "bench_client/workload.h"

namespace sluice::soak {
namespace {

namespace json = boost::json;
using bench::Random;

constexpr const char *kChat = "/v1/chat/completions", *kCompletions = "/v1/completions";
constexpr double kAborted = 0.3, kBad = 0.1, kTools = 0.2;

// Streams of random numbers, so that none meets another.
constexpr uint64_t kShotStream = 1ull << 60, kRepeatStream = 2ull << 60, kPrefixStream = 3ull << 60;
constexpr uint64_t kRepeats = 64, kPrefixes = 8;

struct Bad {
  const char *name, *method, *path;
  std::string body;
  int status;
  bool by_engine = false, wrong_key = false;
};

std::string nested(int depth) {
  return R"({"prompt":"x","metadata":)" + std::string(size_t(depth), '[') + std::string(size_t(depth), ']') + "}";
}

std::string ids(int64_t count) { return json::serialize(json::object{{"prompt", json::array(size_t(count), json::value(20))}}); }

const Bad kBadOnes[] = {
    {"no JSON", "POST", kChat, R"({"messages": [)", 400},
    {"bad UTF-8", "POST", kCompletions, "{\"prompt\": \"\xff\"}", 400},
    {"deep JSON", "POST", kCompletions, nested(80), 400},
    {"another model", "POST", kChat, R"({"model":"other","messages":[{"role":"user","content":"x"}]})", 404},
    {"no messages", "POST", kChat, R"({"messages":[]})", 400},
    {"an unknown role", "POST", kChat, R"({"messages":[{"role":"robot","content":"x"}]})", 400},
    {"a negative temperature", "POST", kChat, R"({"messages":[{"role":"user","content":"x"}],"temperature":-1})", 400},
    {"10^12 choices", "POST", kCompletions, R"({"prompt":"x","n":1000000000000})", 400},
    {"no number", "POST", kCompletions, R"({"prompt":"x","max_tokens":"5"})", 400},
    {"a negative id", "POST", kCompletions, R"({"prompt":[5,-1]})", 400},
    {"an id outside the vocabulary", "POST", kCompletions, R"({"prompt":[5,1000000]})", 400},
    {"a bias outside the vocabulary", "POST", kCompletions, R"({"prompt":"x","logit_bias":{"1000000000":1}})", 400},
    {"too many tokens", "POST", kCompletions, ids(kContext + 100), 400},
    {"an incomplete tool", "POST", kChat, R"({"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function"}]})", 400},
    {"nothing left to draw", "POST", kCompletions, R"({"prompt":"x","allowed_token_ids":[2045],"min_tokens":1})", 400, true},
    {"a schema", "POST", kChat, R"({"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_object"}})", 501},
    {"no such route", "POST", "/v1/nothing", "{}", 404},
    {"the wrong method", "GET", kChat, "", 405},
    {"a wrong key", "POST", kCompletions, R"({"prompt":"x"})", 401, false, true},
};

Shot bad_shot(Random& random) {
  const Bad& b = kBadOnes[random.below(std::size(kBadOnes))];
  return {.kind = Kind::kBad,
          .name = b.name,
          .call = {.method = b.method, .path = b.path, .body = b.body},
          .status = b.status,
          .by_engine = b.by_engine,
          .wrong_key = b.wrong_key};
}

// Mostly short, some long, a few of several steps' chunks.
int64_t prompt_words(Random& random) {
  const double u = random.uniform();
  if (u < 0.85) return 3 + int64_t(random.below(15));
  return u < 0.98 ? 20 + int64_t(random.below(40)) : 80 + int64_t(random.below(120));
}

// Half of the prompts begin like others.
std::string prefix(uint64_t seed, Random& random) {
  if (random.below(2) == 0) return {};
  Random shared(seed, kPrefixStream + random.below(kPrefixes));
  return bench::random_words(shared, 20 + int64_t(shared.below(40)));
}

json::object message(const char* role, std::string text) { return {{"role", role}, {"content", std::move(text)}}; }

json::array tools() {
  const auto tool = [](const char* name, const char* parameter) {
    return json::object{{"type", "function"},
                        {"function",
                         {{"name", name},
                          {"description", "Finds what is asked for."},
                          {"parameters", {{"type", "object"}, {"properties", {{parameter, {{"type", "string"}}}}}}}}}};
  };
  return {tool("weather", "city"), tool("search", "text")};
}

// A call that the assistant has made, and its result.
void add_call(json::array& messages) {
  messages.push_back(
      {{"role", "assistant"},
       {"content", nullptr},
       {"tool_calls",
        {{{"id", "call_1"}, {"type", "function"}, {"function", {{"name", "weather"}, {"arguments", R"({"city":"Rome"})"}}}}}}});
  messages.push_back({{"role", "tool"}, {"tool_call_id", "call_1"}, {"content", "12 degrees"}});
}

json::object chat_body(uint64_t seed, Random& random, bool with_tools, int64_t words) {
  json::array messages;
  if (std::string system = prefix(seed, random); !system.empty()) messages.push_back(message("system", std::move(system)));
  if (random.below(4) == 0) {
    messages.push_back(message("user", bench::random_words(random, 5)));
    messages.push_back(message("assistant", bench::random_words(random, 9)));
  }
  messages.push_back(message("user", bench::random_words(random, words)));
  json::object body;
  if (with_tools) {
    body["tools"] = tools();
    if (random.below(2) == 0) add_call(messages);
  }
  body["messages"] = std::move(messages);
  if (random.below(2) == 0) body["chat_template_kwargs"] = {{"enable_thinking", false}};
  return body;
}

json::object completion_body(uint64_t seed, Random& random, int64_t words) {
  if (random.below(2) == 0) return {{"prompt", prefix(seed, random) + bench::random_words(random, words)}};
  json::array ids;
  for (int64_t i = 0; i < words; ++i) ids.push_back(int64_t(16 + random.below(1900)));
  return {{"prompt", std::move(ids)}};
}

void add_sampling(Random& random, bool chat, json::object& body) {
  const uint64_t way = random.below(4);
  body["temperature"] = way == 0 ? 0.0 : 0.8;
  body["seed"] = int64_t(random.below(1000));
  if (way == 2) body["top_p"] = 0.9, body["presence_penalty"] = 0.5;
  if (way == 3) body["top_k"] = 20, body["stop"] = {"time", "12", "\n\n"};
  if (random.below(10) > 0) return;
  if (chat) body["logprobs"] = true, body["top_logprobs"] = 3;
  else body["logprobs"] = 3;
}

constexpr int64_t kLongWords = 100;  // 10 ms or so

// When the client leaves: before a reply, while a long prompt is computed, within the stream, or while it waits for a whole answer.
// What is asked for takes longer than that.
void make_aborted(Random& random, Shot& s, json::object& body) {
  s.kind = Kind::kAborted;
  s.max_tokens = 1000;
  body["ignore_eos"] = true;
  body.erase("stop");
  switch (random.below(4)) {
    case 0:
      s.name = "aborted before the reply";
      s.call.leave_after_s = random.uniform() * 0.003;
      break;
    case 1:
      s.name = "aborted in the prefill";
      body[s.chat ? "messages" : "prompt"] =
          s.chat ? json::value(json::array{message("user", bench::random_words(random, kLongWords))})
                 : json::value(bench::random_words(random, kLongWords));
      s.call.leave_after_s = 0.001 + random.uniform() * 0.012;
      break;
    case 2:
      s.name = "aborted within the stream";
      s.stream = true;
      s.call.leave_after_bytes = 1 + size_t(random.below(3000));
      break;
    default:
      s.name = "aborted while waiting";
      s.stream = false;
      s.call.leave_after_s = random.uniform() * 0.15;
  }
}

}  // namespace

Shot shot(uint64_t seed, int64_t number) {
  Random random(seed, kShotStream + uint64_t(number));
  const double u = random.uniform();
  if (u < kBad) return bad_shot(random);
  const bool aborted = u < kBad + kAborted, with_tools = !aborted && u < kBad + kAborted + kTools;
  Shot s{.kind = with_tools ? Kind::kTools : Kind::kPlain, .name = with_tools ? "tools" : "plain"};
  s.stream = random.below(2) == 0;
  // A third is of few kinds, which come again and again, streamed or not.
  const bool repeated = !aborted && random.below(3) == 0;
  const uint64_t stream = repeated ? kRepeatStream + 2 * random.below(kRepeats) + with_tools : 0;
  Random content = repeated ? Random(seed, stream) : random;
  s.chat = with_tools || content.below(2) == 0;
  s.max_tokens = 1 + int64_t(content.below(16));
  const int64_t words = prompt_words(content);
  json::object body = s.chat ? chat_body(seed, content, with_tools, words) : completion_body(seed, content, words);
  add_sampling(content, s.chat, body);
  if (content.below(16) == 0) body["n"] = s.choices = 2;
  if (aborted) make_aborted(random, s, body);
  body["max_tokens"] = s.max_tokens;
  if (repeated) s.same = json::serialize(body);
  if (s.stream) body["stream"] = true, body["stream_options"] = {{"include_usage", true}};
  s.call.method = "POST";
  s.call.path = s.chat ? kChat : kCompletions;
  s.call.body = json::serialize(body);
  return s;
}

}  // namespace sluice::soak
