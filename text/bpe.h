// Byte-pair encoding of one piece of text: of all neighbours that the list of merges joins, the pair with the lowest rank, the
// leftmost of equals, is joined; again, until none is left (Sennrich et al. 2016, over bytes).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "text/vocabulary.h"

namespace sluice {

struct Merge {
  int32_t left, right, result;
};

// (left, right) -> rank, by open addressing.
class PairRanks {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  explicit PairRanks(size_t pairs = 0);
  // The last rank given to a pair counts.
  void set(int32_t left, int32_t right, uint32_t rank);
  uint32_t get(int32_t left, int32_t right) const {
    const uint64_t key = key_of(left, right);
    if (!(filter_[filter_byte(key)] & filter_bit(key))) return kNone;
    for (size_t i = home(key);; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.key == key) return slot.rank;
      if (slot.key == kFree) return kNone;
    }
  }

 private:
  static constexpr uint64_t kFree = UINT64_MAX;  // ids are not negative, so no pair has this key
  struct Slot {
    uint64_t key = kFree;
    uint32_t rank = kNone;
  };
  static uint64_t key_of(int32_t left, int32_t right) { return uint64_t(uint32_t(left)) << 32 | uint32_t(right); }
  static size_t hash(uint64_t key) { return size_t((key * 0x9E3779B97F4A7C15u) >> 32); }  // 2^64 / golden ratio (Knuth)
  size_t home(uint64_t key) const { return hash(key) & mask_; }
  size_t filter_byte(uint64_t key) const { return (hash(key) >> 3) & mask_; }
  static uint8_t filter_bit(uint64_t key) { return uint8_t(1u << (hash(key) & 7)); }

  size_t mask_;
  std::vector<Slot> slots_;
  // A bit for each pair there is, eight a slot. Most look-ups are of pairs that there are not, and this stays in the second-level
  // cache (0.5 MB for 250,000 merges) while the slots do not (8 MB).
  std::vector<uint8_t> filter_;
};

class Bpe {
 public:
  // Working memory of one caller, kept between pieces.
  struct Scratch {
    struct Symbol {
      int32_t id, previous, next;  // positions in `symbols`, -1 at the ends
      uint32_t rank;               // of the pair with the next one
    };
    struct Seam {
      int32_t left = -1, right = -1;
      bool stable = false;  // the two are the encoding of their text
    };
    std::vector<Symbol> symbols;
    std::vector<uint64_t> heap;
    std::vector<int32_t> mended, pair;
    std::vector<Seam> seams;  // a cache, by hash
  };

  // `vocabulary` outlives this and has a token for every byte of UTF-8. merges[rank]; they may name any tokens of it.
  // ignore_merges: a piece that is a token is that token, whether merges lead to it or not.
  // never: ids that no piece becomes, unless it is a single byte that has no other token.
  Bpe(const Vocabulary& vocabulary, const std::vector<Merge>& merges, bool ignore_merges, const std::vector<int32_t>& never);

  // Appends the tokens of `piece`. Time is linear in its length but for the log of a window's.
  void encode(std::string_view piece, std::vector<int32_t>& out, Scratch& scratch) const;

 private:
  // Is a piece with the bytes of this token one token? Found out when first asked; from then on such a piece is one look-up.
  enum Whole : uint8_t { kUnknown, kYes, kNo };

  void merge(std::string_view bytes, std::vector<int32_t>& out, Scratch& scratch) const;
  void merge_short(std::string_view bytes, std::vector<int32_t>& out) const;
  void merge_window(std::string_view bytes, std::vector<int32_t>& out, Scratch& scratch) const;
  void merge_long(std::string_view bytes, std::vector<int32_t>& out, Scratch& scratch) const;
  bool stable(int32_t left, int32_t right, Scratch& scratch) const;
  void mend_seam(std::string_view bytes, size_t first, size_t seam, std::vector<int32_t>& out, Scratch& scratch) const;
  size_t bytes_of(const std::vector<int32_t>& ids, size_t begin, size_t end) const;

  const Vocabulary& vocabulary_;
  std::array<int32_t, 256> byte_id_;
  std::vector<uint32_t> byte_pair_rank_;  // [256 * left byte + right byte]: the first look-ups of every piece, in cache
  PairRanks ranks_;
  std::vector<int32_t> result_;                    // [rank]
  std::unique_ptr<std::atomic<uint8_t>[]> whole_;  // [id], Whole; racing threads store the same answer
};

}  // namespace sluice
