// The tokens of a model: id <-> bytes. One arena, one flat hash table, 16 bytes a token beside its text.
//
// tokenizer.json spells a token of a byte-level model in a printable alphabet of 256 characters, one for each byte (space is
// U+0120, and so on; the alphabet is that of GPT-2). A spelling with a character outside of the alphabet is a literal: it stands
// for its own UTF-8, and no ordinary text becomes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace sluice {

// Appends the bytes that `spelling` stands for; false, with `bytes` as it was, when it has a character outside of the alphabet.
bool decode_byte_alphabet(std::string_view spelling, std::string& bytes);

class Vocabulary {
 public:
  // The largest known vocabularies have 262 144 entries. The limit keeps a bad id from costing memory: 8 bytes for each id.
  static constexpr int64_t kIdLimit = int64_t(1) << 22;

  // Ids may have gaps and come in any order; no id and no spelling comes twice. The message lacks the name of the field.
  Status add(std::string_view spelling, int64_t id);

  // One more than the largest id.
  int64_t size() const { return int64_t(entries_.size()); }
  bool has(int32_t id) const { return id >= 0 && id < size() && entries_[size_t(id)].present; }
  bool is_literal(int32_t id) const { return entries_[size_t(id)].literal; }
  // What the token adds to a text; empty for an id in a gap.
  std::string_view bytes(int32_t id) const {
    const Entry& e = entries_[size_t(id)];
    return {arena_.data() + e.offset, e.length};
  }
  size_t longest() const { return longest_; }  // bytes of the longest token

  // -1: no such token. Literals are not found by their bytes.
  int32_t find_bytes(std::string_view bytes) const { return find(bytes, false); }
  int32_t find_spelling(std::string_view spelling) const;

 private:
  struct Entry {
    uint32_t offset = 0;
    uint32_t length : 30 = 0;
    uint32_t present : 1 = 0;
    uint32_t literal : 1 = 0;
  };
  struct Slot {
    uint32_t hash = 0;
    int32_t id = -1;  // -1: free
  };

  int32_t find(std::string_view bytes, bool literal) const;
  void insert(Slot slot);
  void grow();

  std::string arena_;
  std::vector<Entry> entries_;
  std::vector<Slot> slots_;  // open addressing, linear probing, at most half full
  size_t used_ = 0, longest_ = 0;
};

}  // namespace sluice
