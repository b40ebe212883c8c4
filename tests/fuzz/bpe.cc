// Text to tokens, with the demo model's tokenizer: a first byte of flags, 4 bytes for where the text is cut, and the text.
// The pieces are held against PCRE2 with the pattern as the file has it, and the tokens of each against merging by the definition.
#include <algorithm>
#include <map>

#include "io/json.h"
#include "tests/fuzz/fuzz.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"
#include "text/tokenizer_json.h"
#include "text/unicode.h"
#include "text/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace sluice::fuzz {
namespace {

using Pieces = std::vector<std::string>;

constexpr size_t kMostBytes = 400;  // the definition takes quadratic time; windows and the heap of text/bpe.cc begin at 64 and 256

// The file read once more, without the tokenizer's own structures.
class Definition {
 public:
  explicit Definition(const std::string& file) : json_(read_tokenizer_json(file, "file").value()) {
    for (size_t rank = 0; rank < json_.merges.size(); ++rank)
      ranks_.try_emplace({id(json_.merges.left(rank)), id(json_.merges.right(rank))}, rank, id(json_.merges.both(rank)));
    const auto& split = json_.rest.at("pre_tokenizer").at("pretokenizers").at(0);
    const std::string pattern(split.at("pattern").at("Regex").as_string());
    int error = 0;
    size_t offset = 0;
    regex_ = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP, &error, &offset,
                           nullptr);
    matches_ = pcre2_match_data_create(1, nullptr);
    SLUICE_HOLDS(regex_ && matches_);
  }

  // Of a pattern that matches everywhere, one match behind the other.
  Pieces split(const std::string& text) const {
    Pieces pieces;
    for (size_t at = 0; at < text.size();) {
      const int rc =
          pcre2_match(regex_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at, PCRE2_ANCHORED, matches_, nullptr);
      SLUICE_HOLDS(rc > 0, text);
      const size_t end = pcre2_get_ovector_pointer(matches_)[1];
      SLUICE_HOLDS(end > at, text);
      pieces.push_back(text.substr(at, end - at));
      at = end;
    }
    return pieces;
  }

  // Of all pairs that can be joined the one of the lowest rank, the leftmost of equals, until there is none.
  std::vector<int32_t> encode(const std::string& piece) const {
    std::vector<int32_t> ids;
    for (const char& c : piece) ids.push_back(json_.vocab.find_bytes({&c, 1}));
    for (;;) {
      size_t best_rank = SIZE_MAX, best = 0;
      int32_t result = -1;
      for (size_t i = 0; i + 1 < ids.size(); ++i) {
        const auto found = ranks_.find({ids[i], ids[i + 1]});
        if (found != ranks_.end() && found->second.first < best_rank)
          best_rank = found->second.first, best = i, result = found->second.second;
      }
      if (best_rank == SIZE_MAX) return ids;
      ids[best] = result;
      ids.erase(ids.begin() + ptrdiff_t(best) + 1);
    }
  }

 private:
  int32_t id(std::string_view spelling) const { return json_.vocab.find_spelling(spelling); }

  TokenizerJson json_;
  std::map<std::pair<int32_t, int32_t>, std::pair<size_t, int32_t>> ranks_;
  pcre2_code* regex_ = nullptr;
  pcre2_match_data* matches_ = nullptr;
};

const std::string& file() {
  static const std::string text = source_file("demo/model/tokenizer.json");
  return text;
}

Pieces pieces_of(const std::string& text) {
  static const auto json = read_tokenizer_json(file(), "file").value();
  static const auto pretokenizer = PreTokenizer::parse(json.rest.at("pre_tokenizer"), "file").value();
  Pieces pieces;
  Regex::Matches matches;
  pretokenizer.split(text, matches, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

std::string normalised(const std::string& text) {
  std::string out;
  std::vector<Rewrite> rewrites;
  if (!to_nfc(text, out, rewrites)) return text;
  // Outside of the rewrites nothing changes, and in them is all that did.
  size_t in = 0, to = 0;
  for (const Rewrite& r : rewrites) {
    SLUICE_HOLDS(in <= r.in_begin && r.in_begin <= r.in_end && r.in_end <= text.size());
    SLUICE_HOLDS(to <= r.out_begin && r.out_begin <= r.out_end && r.out_end <= out.size());
    SLUICE_HOLDS(text.substr(in, r.in_begin - in) == out.substr(to, r.out_begin - to));
    in = r.in_end, to = r.out_end;
  }
  SLUICE_HOLDS(text.substr(in) == out.substr(to));
  std::string again;
  SLUICE_HOLDS(!to_nfc(out, again, rewrites), text);
  return out;
}

}  // namespace

void fuzz_one(std::string_view bytes) {
  static const Tokenizer tokenizer = Tokenizer::parse(file(), "file").value();
  static const Definition definition(file());
  Input in(bytes);
  const bool trusted = in.flag();
  const uint64_t seed = in.number(4);
  const std::string_view text = in.rest().substr(0, kMostBytes);

  const std::vector<int32_t> ids = tokenizer.encode(text, trusted);
  std::string valid;
  append_lossy(valid, text);
  const std::string nfc = normalised(valid);
  // Text that holds an added token is normalised around it only.
  if (const std::string decoded = tokenizer.decode(ids, false); decoded != nfc)
    SLUICE_HOLDS(trusted && normalised(decoded) == nfc && valid.find("<|") != std::string::npos, decoded);
  std::vector<Tokenizer::Span> spans;
  each_piece(text, random_cuts(seed, text.size()), [&](std::string_view piece) { spans.push_back({piece, trusted}); });
  SLUICE_HOLDS(tokenizer.encode(spans) == ids);
  if (trusted) return;

  // U+180E is white space for PCRE2 and not for the file's authors: see text/regex.cc.
  const Pieces pieces = pieces_of(nfc);
  if (nfc.find("\u180e") == std::string::npos) SLUICE_HOLDS(pieces == definition.split(nfc), nfc);
  std::vector<int32_t> wanted;
  for (const std::string& piece : pieces)
    for (const int32_t id : definition.encode(piece)) wanted.push_back(id);
  SLUICE_HOLDS(ids == wanted, nfc);
}

}  // namespace sluice::fuzz
