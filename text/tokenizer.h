// Text <-> token ids, from a Hugging Face checkpoint's tokenizer.json. Byte-level BPE only; what else the file asks for is refused.
//
// Immutable and cheap to copy; every function may be called from several threads.
//
// Rules:
// - Added tokens (special or not) are found first, in trusted text only; the text between them is normalised and cut into
//   pieces as a whole, whoever wrote which part. So a chat prompt has the ids that Hugging Face gives it unless a user wrote an
//   added token, and text of a user is never one: what a user wrote may only touch it.
// - Bytes that are not UTF-8 become U+FFFD, one per maximal bad part (text/utf8.h), each run of equal trust by itself.
// - Nothing is put around the text: the post-processor of the file is not run; chat templates write what a model wants.
// - Ids are those of the file. They may have gaps: an id in a gap decodes to nothing. Two tokens with one id are refused.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/added_tokens.h"

namespace sluice {

class Tokenizer {
 public:
  static constexpr size_t kMaxFileBytes = size_t(64) << 20;

  struct Span {
    std::string_view text;
    bool trusted;
  };

  // tokenizer.json of a checkpoint's folder, and the named and added tokens of tokenizer_config.json where there is one.
  static Result<Tokenizer> load(const std::string& dir);
  static Result<Tokenizer> load_file(const std::string& tokenizer_json);
  // The same for a model of so many ids: each that the file does not know is written as U+FFFD.
  Tokenizer for_vocabulary(int64_t size) const;
  // From the text of the files; `where` and `config_where` name them in errors. An empty config is none.
  static Result<Tokenizer> parse(std::string_view tokenizer_json, const std::string& where, std::string_view config = {},
                                 const std::string& config_where = {});

  // The ids of the concatenated text.
  std::vector<int32_t> encode(std::span<const Span> spans) const;
  // parse_special: all of it is trusted, as in Hugging Face's encode(). Else none of it is.
  std::vector<int32_t> encode(std::string_view text, bool parse_special) const;

  // The text of all tokens together, bad UTF-8 as U+FFFD. Ids out of range add nothing.
  std::string decode(std::span<const int32_t> ids, bool skip_special) const;
  // What one token adds: maybe a part of a character only.
  std::string token_bytes(int32_t id) const;

  int64_t vocab_size() const;  // one more than the largest id
  bool has(int32_t id) const;
  // An added token by its content, any other as tokenizer.json spells it (a space is U+0120).
  std::optional<int32_t> token_id(std::string_view token) const;
  bool is_special(int32_t id) const;
  std::span<const AddedToken> added_tokens() const;  // by id

  // As named by tokenizer_config.json.
  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> eos_id() const;
  std::optional<int32_t> pad_id() const;

 private:
  friend class Detokenizer;
  struct Parts;
  class Encoder;
  explicit Tokenizer(std::shared_ptr<const Parts> parts) : parts_(std::move(parts)) {}
  static Status load_config(std::string_view text, const std::string& where, Parts& parts, std::vector<AddedToken>& added);

  std::string_view bytes(int32_t id) const;

  std::shared_ptr<const Parts> parts_;
  int64_t written_ = 0;  // ids below it have a text
};

}  // namespace sluice
