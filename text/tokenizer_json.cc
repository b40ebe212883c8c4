#include "text/tokenizer_json.h"

#include <boost/json/value_stack.hpp>

#include "io/json_sax.h"
#include "io/quote.h"

namespace sluice {

void MergeSpellings::add(std::string_view left, std::string_view right) {
  text_ += left;
  const uint32_t middle = uint32_t(text_.size());
  text_ += right;
  ends_.push_back({middle, uint32_t(text_.size())});
}

namespace {

namespace json = boost::json;

// vocab is {spelling: id}; merges is ["left right" or ["left", "right"]].
class TokenizerHandler : public SaxHandler {
 public:
  bool on_object_begin(JsonErrorCode& ec) {
    if (part_ != Part::kRest) return refuse_value("an object", ec);
    if (next_ == Part::kMerges) return refuse(ec, bad_file("model.merges is an object, wanted an array"));
    ++depth_;
    if (next_ == Part::kVocab) return enter(ec);
    return true;
  }
  bool on_object_end(size_t n, JsonErrorCode&) {
    if (part_ == Part::kVocab) n = 0;
    part_ = Part::kRest;
    leave();
    stack.push_object(n);
    return true;
  }
  bool on_array_begin(JsonErrorCode& ec) {
    if (part_ == Part::kMerges && depth_ == kListDepth) return ++depth_, pair_size_ = 0, true;
    if (part_ != Part::kRest) return refuse_value("an array", ec);
    if (next_ == Part::kVocab) return refuse(ec, bad_file("model.vocab is an array, wanted an object"));
    ++depth_;
    if (next_ == Part::kMerges) return enter(ec);
    return true;
  }
  bool on_array_end(size_t n, JsonErrorCode& ec) {
    if (part_ == Part::kMerges && depth_ > kListDepth) {
      if (pair_size_ != 2) return refuse_merge("has " + std::to_string(pair_size_) + " parts", ec);
      return --depth_, result.merges.add(left_, right_), true;
    }
    if (part_ == Part::kMerges) n = 0;
    part_ = Part::kRest;
    leave();
    stack.push_array(n);
    return true;
  }

  bool on_key_part(json::string_view s, size_t, JsonErrorCode&) { return text_ += s, true; }
  bool on_key(json::string_view s, size_t, JsonErrorCode&) {
    const std::string_view key = whole(s);
    if (part_ == Part::kVocab) {
      spelling_ = key;
    } else {
      if (depth_ == 1) in_model_ = key == "model";
      const bool of_model = in_model_ && depth_ == kListDepth - 1;
      next_ = of_model && key == "vocab" ? Part::kVocab : of_model && key == "merges" ? Part::kMerges : Part::kRest;
      stack.push_key({key.data(), key.size()});
    }
    text_.clear();
    return true;
  }
  bool on_string_part(json::string_view s, size_t, JsonErrorCode&) { return text_ += s, true; }
  bool on_string(json::string_view s, size_t, JsonErrorCode& ec) {
    const std::string_view string = whole(s);
    bool good = true;
    if (part_ == Part::kVocab) {
      good = refuse_value(quote(string), ec);
    } else if (part_ == Part::kMerges) {
      good = add_merge_string(string, ec);
    } else {
      stack.push_string({string.data(), string.size()});
      next_ = Part::kRest;
    }
    text_.clear();
    return good;
  }
  bool on_int64(int64_t i, json::string_view, JsonErrorCode& ec) {
    if (part_ == Part::kVocab) {
      const Status added = result.vocab.add(spelling_, i);
      return added.ok() || refuse(ec, added.in("model.vocab"));
    }
    if (part_ == Part::kMerges) return refuse_value(std::to_string(i), ec);
    return scalar([&] { stack.push_int64(i); });
  }
  bool on_uint64(uint64_t u, json::string_view, JsonErrorCode& ec) {
    if (part_ != Part::kRest) return refuse_value(std::to_string(u), ec);
    return scalar([&] { stack.push_uint64(u); });
  }
  bool on_double(double d, json::string_view text, JsonErrorCode& ec) {
    if (part_ != Part::kRest) return refuse_value(std::string(text), ec);
    return scalar([&] { stack.push_double(d); });
  }
  bool on_bool(bool b, JsonErrorCode& ec) {
    if (part_ != Part::kRest) return refuse_value(b ? "true" : "false", ec);
    return scalar([&] { stack.push_bool(b); });
  }
  bool on_null(JsonErrorCode& ec) {
    if (part_ != Part::kRest) return refuse_value("null", ec);
    return scalar([&] { stack.push_null(); });
  }

  json::value_stack stack;
  TokenizerJson result;

 private:
  enum class Part { kRest, kVocab, kMerges };
  static constexpr int kListDepth = 3;  // inside of the file's object, model and vocab or merges

  template <class Push>
  bool scalar(Push push) {
    push();
    next_ = Part::kRest;
    return true;
  }
  bool enter(JsonErrorCode& ec) {
    part_ = next_;
    next_ = Part::kRest;
    bool& seen = part_ == Part::kVocab ? result.has_vocab : result.has_merges;
    if (seen) return refuse(ec, bad_file(std::string(part_ == Part::kVocab ? "model.vocab" : "model.merges") + " comes twice"));
    return seen = true;
  }
  void leave() {
    --depth_;
    next_ = Part::kRest;
  }
  // Parts of a string are gathered in text_; most come whole.
  std::string_view whole(json::string_view last) {
    if (text_.empty()) return {last.data(), last.size()};
    return text_ += last;
  }
  bool add_merge_string(std::string_view string, JsonErrorCode& ec) {
    if (depth_ > kListDepth) {
      if (pair_size_ < 2) (pair_size_ ? right_ : left_) = string;
      return ++pair_size_, true;
    }
    if (string.starts_with("#version")) return true;  // the first line of merges.txt, which old converters copied too
    const size_t space = string.find(' ');
    if (space == std::string_view::npos || string.find(' ', space + 1) != std::string_view::npos)
      return refuse_merge("is " + quote(string), ec);
    result.merges.add(string.substr(0, space), string.substr(space + 1));
    return true;
  }
  bool refuse_merge(const std::string& what, JsonErrorCode& ec) {
    return refuse(ec, bad_file("model.merges[" + std::to_string(result.merges.size()) + "] " + what +
                               ", wanted \"left right\" or [\"left\", \"right\"]"));
  }
  bool refuse_value(const std::string& found, JsonErrorCode& ec) {
    if (part_ == Part::kMerges) return refuse_merge("is or has " + found, ec);
    return refuse(ec, bad_file("model.vocab: token " + quote(spelling_) + " has id " + found + ", wanted an integer from 0 to " +
                               std::to_string(Vocabulary::kIdLimit - 1)));
  }

  int depth_ = 0;  // open objects and arrays
  bool in_model_ = false;
  Part part_ = Part::kRest, next_ = Part::kRest;  // where we are; what the value after this key is
  int pair_size_ = 0;                             // strings in the merge that is an array
  std::string text_, spelling_, left_, right_;
};

}  // namespace

Result<TokenizerJson> read_tokenizer_json(std::string_view text, const std::string& where) {
  json::basic_parser<TokenizerHandler> parser(strict_json());
  SLUICE_RETURN_IF_ERROR(parse_sax(parser, text, where));
  TokenizerHandler& handler = parser.handler();
  handler.result.rest = handler.stack.release();
  return std::move(handler.result);
}

}  // namespace sluice
