// What a model writes to reasoning, content and calls: a byte of settings, 4 bytes for where the text is cut, and the text.
#include "text/tool_parser.h"

#include <boost/json/parse.hpp>

#include "tests/fuzz/fuzz.h"
#include "text/tool_parser_test_support.h"

namespace sluice::fuzz {
namespace {

using namespace testing;

Setting setting_of(unsigned choice) {
  static const boost::json::value tools = test_tools();
  constexpr ToolFormat kFormats[] = {ToolFormat::kQwenXml, ToolFormat::kHermesJson, ToolFormat::kNone};
  constexpr Reasoning kReasonings[] = {Reasoning::kOff, Reasoning::kModelOpens, Reasoning::kPromptOpened};
  return {{kFormats[choice % 3], kReasonings[choice / 3 % 3]}, choice / 9 % 4 == 3 ? boost::json::value() : tools};
}

bool is_json_object(const std::string& text) {
  boost::json::error_code ec;
  boost::json::parse_options options;
  options.max_depth = 100;
  const boost::json::value value = boost::json::parse(text, ec, {}, options);
  return !ec && value.is_object();
}

// Only where characters begin: the Detokenizer cuts none. One seed in four cuts at all of these places.
std::vector<size_t> cuts_of(uint64_t seed, std::string_view text) {
  if (seed % 4 == 0) return places_between_characters(text);
  std::vector<size_t> cuts = random_cuts(seed, text.size());
  std::erase_if(cuts, [&](size_t at) { return (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80; });
  return cuts;
}

}  // namespace

void fuzz_one(std::string_view bytes) {
  Input in(bytes);
  const Setting setting = setting_of(in.below(36));
  const uint64_t seed = in.number(4);
  std::string text;
  append_lossy(text, in.rest());

  const Transcript whole = transcript(text, setting);
  SLUICE_HOLDS(whole.fault().empty() && !whole.in_call(), whole.fault());
  for (const std::string& arguments : whole.arguments()) SLUICE_HOLDS(is_json_object(arguments), arguments);
  SLUICE_HOLDS(transcript(text, setting, cuts_of(seed, text)).text() == whole.text(), whole.text());
  if (setting.format.reasoning == Reasoning::kOff && whole.arguments().empty())
    SLUICE_HOLDS(whole.text() == (text.empty() ? "" : "C{" + text + "}"));
}

}  // namespace sluice::fuzz
