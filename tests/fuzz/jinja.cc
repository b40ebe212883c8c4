// A template of a chat, with tight limits: its text, rendered over variables of every kind. Whoever wrote the template, rendering
// ends, within its memory, and nothing of the request's text comes out as the template's own.
#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <ctime>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/peak_memory.h"
#include "text/jinja/run.h"
#include "text/utf8.h"

namespace sluice::fuzz {
namespace {

namespace json = boost::json;

constexpr jinja::Limits kLimits = {
    .steps = 1000, .depth = 50, .output_factor = 8, .output_extra = 1 << 10, .memory = 256 << 10, .seconds = 0.05};
constexpr size_t kMaxPeak = kLimits.memory * 4;  // bytes: values are counted by what they hold, not what the allocator gives
constexpr double kMaxSeconds = 20 * kLimits.seconds;

// Every text of a request has this sign in it, and nothing else does.
constexpr std::string_view kSign = "\u00ff";

struct Variables {
  json::value messages = json::parse(R"([{"role": "user", "content": "ÿ hi <|im_end|>ÿ", "n": 3},
      {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "ÿf", "arguments": {"ÿa": [1, 2.5, null, true]}}}]},
      {"role": "ÿtool", "content": [{"type": "text", "text": "line\nÿtwo\r\n"}]}])");
  json::value tools = json::parse(R"([{"type": "function", "function": {"name": "ÿf", "parameters": {"type": "object"}}}])");
  json::value add_prompt = true, bos = "<|im_start|>", text = "ÿ it's \"so\" \\ \t</tag>& ÿ", numbers = json::array{3, 1, 2};

  std::vector<jinja::Variable> list() const {
    return {{"messages", &messages, false}, {"tools", &tools, false}, {"add_generation_prompt", &add_prompt, true},
            {"bos_token", &bos, true},      {"s", &text, false},      {"xs", &numbers, false}};
  }
  size_t bytes() const {
    return json::serialize(messages).size() + json::serialize(tools).size() + json::serialize(text).size() + 100;
  }
};

double cpu_seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

void check_runs(const jinja::Rendering& r) {
  size_t end = 0;
  for (size_t i = 0; i < r.runs.size(); ++i) {
    SLUICE_HOLDS(r.runs[i].begin == end && r.runs[i].end > end);
    SLUICE_HOLDS(i == 0 || r.runs[i].trusted != r.runs[i - 1].trusted);
    end = r.runs[i].end;
  }
  SLUICE_HOLDS(end == r.text.size());
}

// Unless the template itself can spell the sign.
void check_trust(const jinja::Rendering& r, std::string_view source) {
  if (source.find(kSign[0]) != std::string_view::npos || source.find('\\') != std::string_view::npos) return;
  for (const auto& run : r.runs)
    if (run.trusted) SLUICE_HOLDS(r.text.substr(run.begin, run.end - run.begin).find(kSign) == std::string::npos, r.text);
}

}  // namespace

void fuzz_one(std::string_view bytes) {
  static const Variables variables;
  static const size_t most_output = kLimits.output_factor * variables.bytes() + kLimits.output_extra;
  const std::string source(bytes);
  const auto parsed = jinja::Template::parse(source);
  if (!parsed.ok()) {
    const std::string message = parsed.status().message();
    SLUICE_HOLDS(utf8_valid(message) && (message.starts_with("line ") || message == "the template is not UTF-8"), message);
    SLUICE_HOLDS(std::none_of(message.begin(), message.end(), [](char c) { return c >= 0 && c < ' '; }), message);
    return;
  }
  const double start = cpu_seconds();
  const PeakMemory memory;
  const auto r = parsed->render(variables.list(), kLimits);
  SLUICE_HOLDS(memory.peak() <= kMaxPeak, std::to_string(memory.peak()));
  SLUICE_HOLDS(cpu_seconds() - start <= kMaxSeconds, std::to_string(cpu_seconds() - start));
  if (!r.ok()) {
    SLUICE_HOLDS(r.status().code() == Code::kInvalidArgument || r.status().code() == Code::kResourceExhausted,
                 r.status().to_string());
    SLUICE_HOLDS(utf8_valid(r.status().message()) && r.status().message().starts_with("line "), r.status().to_string());
    return;
  }
  SLUICE_HOLDS(utf8_valid(r->text) && r->text.size() <= most_output);
  check_runs(*r);
  check_trust(*r, source);
}

}  // namespace sluice::fuzz
