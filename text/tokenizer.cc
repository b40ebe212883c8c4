#include "text/tokenizer.h"

#include <algorithm>

#include "base/out_of_memory.h"
#include "io/json.h"
#include "text/bpe.h"
#include "text/pretokenize.h"
#include "text/tokenizer_parts.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace sluice {
namespace {

std::vector<TextRange> clip(const std::vector<TextRange>& ranges, TextRange to) {
  std::vector<TextRange> clipped;
  auto r = std::partition_point(ranges.begin(), ranges.end(), [&](const TextRange& range) { return range.end <= to.begin; });
  for (; r != ranges.end() && r->begin < to.end; ++r)
    clipped.push_back({std::max(r->begin, to.begin) - to.begin, std::min(r->end, to.end) - to.begin});
  return clipped;
}

// Where `at` lies in the normalised text; a place inside of a rewritten stretch goes to its end, or to its beginning.
size_t moved(size_t at, const std::vector<Rewrite>& rewrites, bool to_end) {
  const auto after = std::partition_point(rewrites.begin(), rewrites.end(), [&](const Rewrite& r) { return r.in_begin < at; });
  if (after == rewrites.begin()) return at;
  const Rewrite& r = after[-1];
  if (at < r.in_end) return to_end ? r.out_end : r.out_begin;
  return at - r.in_end + r.out_end;
}

// Trusted parts of the normalised text: a stretch that normalisation changed is trusted when all of it was.
std::vector<TextRange> moved(const std::vector<TextRange>& ranges, const std::vector<Rewrite>& rewrites) {
  std::vector<TextRange> result;
  for (const TextRange& range : ranges) {
    const TextRange now{moved(range.begin, rewrites, true), moved(range.end, rewrites, false)};
    if (now.begin < now.end) result.push_back(now);
  }
  return result;
}

}  // namespace

// One call of encode().
class Tokenizer::Encoder {
 public:
  Encoder(const Parts& parts, std::vector<int32_t>& out) : parts_(parts), out_(out) {}

  void encode(std::string_view text, const std::vector<TextRange>& trusted) {
    walk(text, parts_.raw_added.find(text, trusted), [&](TextRange between) {
      const std::string_view stretch = text.substr(between.begin, between.end - between.begin);
      encode_stretch(stretch, parts_.normalized_added.empty() ? std::vector<TextRange>() : clip(trusted, between));
    });
  }

 private:
  // Writes the ids of the matches and calls f for the text between them.
  template <class F>
  void walk(std::string_view text, const std::vector<AddedTokenMatcher::Match>& matches, F f) {
    size_t done = 0;
    for (const auto& match : matches) {
      if (done < match.range.begin) f(TextRange{done, match.range.begin});
      out_.push_back(match.id);
      done = match.range.end;
    }
    if (done < text.size()) f(TextRange{done, text.size()});
  }

  void encode_stretch(std::string_view text, std::vector<TextRange> trusted) {
    std::string normalised;
    std::vector<Rewrite> rewrites;
    if (parts_.nfc && to_nfc(text, normalised, rewrites)) {
      text = normalised;
      trusted = moved(trusted, rewrites);
    }
    walk(text, parts_.normalized_added.find(text, trusted), [&](TextRange between) {
      parts_.pretokenizer.split(text.substr(between.begin, between.end - between.begin), matches_,
                                [&](std::string_view piece) { parts_.bpe->encode(piece, out_, scratch_); });
    });
  }

  const Parts& parts_;
  std::vector<int32_t>& out_;
  Regex::Matches matches_;
  Bpe::Scratch scratch_;
};

Result<Tokenizer> Tokenizer::load(const std::string& dir) {
  return or_out_of_memory([&]() -> Result<Tokenizer> {
    const std::string path = dir + "/tokenizer.json", config_path = dir + "/tokenizer_config.json";
    SLUICE_ASSIGN_OR_RETURN(const std::string text, read_small_file(path, kMaxFileBytes));
    Result<std::string> config = read_small_file(config_path, kMaxFileBytes);
    if (!config.ok() && config.status().code() != Code::kNotFound) return config.status();
    return parse(text, path, config.ok() ? *config : std::string(), config_path);
  });
}

Result<Tokenizer> Tokenizer::load_file(const std::string& tokenizer_json) {
  SLUICE_ASSIGN_OR_RETURN(const std::string text, read_small_file(tokenizer_json, kMaxFileBytes));
  return parse(text, tokenizer_json);
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool parse_special) const {
  const Span span{text, parse_special};
  return encode({&span, 1});
}

std::vector<int32_t> Tokenizer::encode(std::span<const Span> spans) const {
  struct Run {
    size_t begin, end;
    bool trusted;
  };
  std::string joined;
  std::vector<Run> runs;
  if (spans.size() > 1)
    for (const Span& span : spans) joined += span.text;
  std::string_view text = spans.size() == 1 ? spans[0].text : std::string_view(joined);
  size_t end = 0;
  for (const Span& span : spans) {
    if (runs.empty() || runs.back().trusted != span.trusted) runs.push_back({end, end, span.trusted});
    runs.back().end = end += span.text.size();
  }
  std::string repaired;
  if (!utf8_valid(text)) {
    for (Run& run : runs) {
      const std::string_view bad = text.substr(run.begin, run.end - run.begin);
      run.begin = repaired.size();
      append_lossy(repaired, bad);
      run.end = repaired.size();
    }
    text = repaired;
  }
  std::vector<TextRange> trusted;
  for (const Run& run : runs)
    if (run.trusted && run.begin < run.end) trusted.push_back({run.begin, run.end});
  std::vector<int32_t> ids;
  Encoder(*parts_, ids).encode(text, trusted);
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string all, text;
  for (const int32_t id : ids)
    if (!(skip_special && is_special(id))) all += bytes(id);
  append_lossy(text, all);
  return text;
}

Tokenizer Tokenizer::for_vocabulary(int64_t size) const {
  Tokenizer t = *this;
  t.written_ = size;
  return t;
}

std::string_view Tokenizer::bytes(int32_t id) const {
  if (has(id)) return parts_->vocabulary.bytes(id);
  return id >= 0 && id < written_ ? "\uFFFD" : std::string_view();
}
std::string Tokenizer::token_bytes(int32_t id) const { return std::string(bytes(id)); }
int64_t Tokenizer::vocab_size() const { return parts_->vocabulary.size(); }
bool Tokenizer::has(int32_t id) const { return parts_->vocabulary.has(id); }
bool Tokenizer::is_special(int32_t id) const { return has(id) && parts_->special[size_t(id)]; }
std::span<const AddedToken> Tokenizer::added_tokens() const { return parts_->added; }
std::optional<int32_t> Tokenizer::bos_id() const { return parts_->bos; }
std::optional<int32_t> Tokenizer::eos_id() const { return parts_->eos; }
std::optional<int32_t> Tokenizer::pad_id() const { return parts_->pad; }

std::optional<int32_t> Tokenizer::token_id(std::string_view token) const {
  const int32_t id = parts_->vocabulary.find_spelling(token);
  return id < 0 ? std::nullopt : std::optional<int32_t>(id);
}

}  // namespace sluice
