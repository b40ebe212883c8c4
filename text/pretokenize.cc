#include "text/pretokenize.h"

#include <string>

#include "text/tokenizer_fields.h"
#include "text/utf8.h"

namespace sluice {
namespace {

constexpr int kMaxNesting = 8;    // Sequences within Sequences
constexpr size_t kMaxSteps = 64;  // pieces go through them by recursion; known tokenizers have four at most

// GPT-2's pattern, which a ByteLevel step uses unless told not to.
constexpr char kByteLevelPattern[] = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

std::string escaped(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    const bool plain =
        static_cast<unsigned char>(c) >= 0x80 || c == '_' || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
    if (!plain) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

}  // namespace

Result<PreTokenizer> PreTokenizer::parse(const boost::json::value& description, const std::string& where) {
  PreTokenizer result;
  if (!description.is_null()) SLUICE_RETURN_IF_ERROR(result.add(description, where, 0));
  if (!result.byte_level_)
    return Status(Code::kUnsupported, where + " has no ByteLevel step, wanted one: only byte-level models are supported");
  return result;
}

Status PreTokenizer::add(const boost::json::value& description, const std::string& where, int depth) {
  SLUICE_ASSIGN_OR_RETURN(const TokenizerFields fields, TokenizerFields::of(description, where));
  SLUICE_ASSIGN_OR_RETURN(const std::string type, fields.text("type"));
  if (byte_level_)
    return Status(Code::kUnsupported, fields.name("type") + " is " + quote(type) + " after ByteLevel, wanted ByteLevel last");
  if (steps_.size() == kMaxSteps)
    return bad_file(where + " comes after " + std::to_string(kMaxSteps) + " steps, wanted no more than that");
  if (type == "Split") return add_split(description, where);
  if (type == "ByteLevel") return add_byte_level(description, where);
  if (type != "Sequence")
    return Status(Code::kUnsupported, fields.name("type") + " is " + quote(type) + ", wanted Sequence, Split or ByteLevel");
  const boost::json::value* list = fields.find("pretokenizers");
  if (!list || !list->is_array()) return fields.wrong("pretokenizers", "an array");
  if (depth == kMaxNesting) return bad_file(where + " is nested deeper than " + std::to_string(kMaxNesting) + " Sequences");
  for (size_t i = 0; i < list->get_array().size(); ++i)
    SLUICE_RETURN_IF_ERROR(add(list->get_array()[i], fields.name("pretokenizers") + "[" + std::to_string(i) + "]", depth + 1));
  return ok_status();
}

Status PreTokenizer::add_split(const boost::json::value& description, const std::string& where) {
  SLUICE_ASSIGN_OR_RETURN(const TokenizerFields fields, TokenizerFields::of(description, where));
  const boost::json::value* pattern = fields.find("pattern");
  if (!pattern) return fields.wrong("pattern", "an object with Regex or String");
  SLUICE_ASSIGN_OR_RETURN(const TokenizerFields kinds, TokenizerFields::of(*pattern, fields.name("pattern")));
  const bool plain = kinds.find("String") != nullptr;
  SLUICE_ASSIGN_OR_RETURN(const std::string text, kinds.text(plain ? "String" : "Regex"));
  Result<Regex> regex = Regex::compile(plain ? escaped(text) : text);
  if (!regex.ok()) return regex.status().in(kinds.name(plain ? "String" : "Regex"));

  Step step;
  SLUICE_ASSIGN_OR_RETURN(const std::string behaviour, fields.text("behavior"));
  if (behaviour == "Isolated") step.behaviour = Behaviour::kIsolated;
  else if (behaviour == "Removed") step.behaviour = Behaviour::kRemoved;
  else if (behaviour == "MergedWithPrevious") step.behaviour = Behaviour::kMergedWithPrevious;
  else if (behaviour == "MergedWithNext") step.behaviour = Behaviour::kMergedWithNext;
  else if (behaviour == "Contiguous") step.behaviour = Behaviour::kContiguous;
  else return fields.wrong("behavior", "Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous");
  SLUICE_ASSIGN_OR_RETURN(step.invert, fields.flag("invert", false));
  step.regex.push_back(std::move(regex).value());
  steps_.push_back(std::move(step));
  return ok_status();
}

Status PreTokenizer::add_byte_level(const boost::json::value& description, const std::string& where) {
  SLUICE_ASSIGN_OR_RETURN(const TokenizerFields fields, TokenizerFields::of(description, where));
  SLUICE_ASSIGN_OR_RETURN(const bool use_regex, fields.flag("use_regex", true));
  Step step;
  SLUICE_ASSIGN_OR_RETURN(step.prefix_space, fields.flag("add_prefix_space", true));
  byte_level_ = true;
  if (use_regex) {
    SLUICE_ASSIGN_OR_RETURN(Regex regex, Regex::compile(kByteLevelPattern));
    step.regex.push_back(std::move(regex));
  }
  if (use_regex || step.prefix_space) steps_.push_back(std::move(step));
  return ok_status();
}

void PreTokenizer::run(size_t step, std::string_view text, Regex::Matches& matches, const Sink& sink) const {
  if (text.empty()) return;
  if (step == steps_.size()) return sink(text);
  const bool space = steps_[step].prefix_space && text.front() != ' ';
  const std::string prefixed = space ? " " + std::string(text) : std::string();
  if (space) text = prefixed;
  if (steps_[step].regex.empty()) return run(step + 1, text, matches, sink);
  cut(step, text, matches, sink);
}

// Does a part go on with what the part before it began?
bool PreTokenizer::joins(Behaviour behaviour, bool last_is_match, bool is_match) {
  switch (behaviour) {
    case Behaviour::kContiguous:
      return last_is_match == is_match;
    case Behaviour::kMergedWithPrevious:
      return is_match && !last_is_match;
    case Behaviour::kMergedWithNext:
      return !is_match && last_is_match;
    default:
      return false;
  }
}

void PreTokenizer::cut(size_t step_index, std::string_view text, Regex::Matches& matches, const Sink& sink) const {
  const Step& step = steps_[step_index];
  size_t begin = 0, end = 0;  // the piece that is not given away yet
  bool last_is_match = false;
  const auto flush = [&] {
    const bool removed = step.behaviour == Behaviour::kRemoved && last_is_match;
    if (!removed) run(step_index + 1, text.substr(begin, end - begin), matches, sink);
    begin = end;
  };
  const auto part = [&](size_t part_end, bool matched) {
    const bool is_match = matched != step.invert;
    if (!joins(step.behaviour, last_is_match, is_match)) flush();
    end = part_end;
    last_is_match = is_match;
  };
  size_t from = 0, last_end = std::string_view::npos;
  for (Regex::Range found; from <= text.size() && step.regex[0].search(text, from, matches, found);) {
    from = found.end;
    if (found.begin == found.end) {  // an empty match cuts, but not where the last match ended
      from += found.end < text.size() ? next_utf8(text.substr(found.end)).length : 1;
      if (found.end == last_end) continue;
    }
    if (found.begin > end) part(found.begin, false);
    part(found.end, true);
    last_end = found.end;
  }
  if (end < text.size()) part(text.size(), false);
  flush();
}

}  // namespace sluice
