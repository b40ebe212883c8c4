#include "text/vocabulary.h"

#include <array>

#include "io/quote.h"
#include "text/utf8.h"

namespace sluice {
namespace {

constexpr char32_t kAlphabetEnd = 256 + 68;  // 188 bytes are printable as they are; the others follow from U+0100, in order

constexpr bool prints_as_itself(int b) { return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xFF && b != 0xAD); }

constexpr std::array<int16_t, kAlphabetEnd> make_alphabet() {
  std::array<int16_t, kAlphabetEnd> byte_of{};
  for (auto& b : byte_of) b = -1;
  for (int b = 0, next = 256; b < 256; ++b) byte_of[size_t(prints_as_itself(b) ? b : next++)] = int16_t(b);
  return byte_of;
}
constexpr auto kByteOf = make_alphabet();

// Multiply and fold, eight bytes at a time; the last eight may overlap those before. Only the file's own tokens are ever
// inserted, so no text can make it collide.
uint32_t hash_bytes(std::string_view s) {
  constexpr uint64_t kOdd = 0x9E3779B97F4A7C15u;  // 2^64 over the golden ratio
  const auto read8 = [&](size_t at) {
    uint64_t word;
    std::memcpy(&word, s.data() + at, 8);
    return word;
  };
  const auto read4 = [&](size_t at) {
    uint32_t word;
    std::memcpy(&word, s.data() + at, 4);
    return uint64_t(word);
  };
  const auto byte = [&](size_t at) { return uint64_t(static_cast<unsigned char>(s[at])); };
  const size_t n = s.size();
  uint64_t h = n * kOdd;
  for (size_t i = 0; i + 8 < n; i += 8) {
    h = (h ^ read8(i)) * kOdd;
    h ^= h >> 32;
  }
  const uint64_t last = n >= 8   ? read8(n - 8)
                        : n >= 4 ? read4(0) | read4(n - 4) << 32
                        : n      ? byte(0) | byte(n / 2) << 8 | byte(n - 1) << 16
                                 : 0;
  h = (h ^ last) * kOdd;
  h ^= h >> 29;
  return uint32_t((h * kOdd) >> 32);
}

}  // namespace

bool decode_byte_alphabet(std::string_view spelling, std::string& bytes) {
  const size_t before = bytes.size();
  while (!spelling.empty()) {
    const Utf8Unit unit = next_utf8(spelling);
    if (unit.kind != Utf8Unit::kGood || unit.code >= kAlphabetEnd || kByteOf[unit.code] < 0) {
      bytes.resize(before);
      return false;
    }
    bytes += char(kByteOf[unit.code]);
    spelling.remove_prefix(unit.length);
  }
  return true;
}

Status Vocabulary::add(std::string_view spelling, int64_t id) {
  const auto fail = [&](const std::string& what) {
    return bad_file("token " + quote(spelling) + " has id " + std::to_string(id) + what);
  };
  if (id < 0 || id >= kIdLimit) return fail(", wanted 0 to " + std::to_string(kIdLimit - 1));
  if (has(int32_t(id))) return fail(", which is also the id of " + quote(bytes(int32_t(id))) + "; wanted each id once");
  const size_t offset = arena_.size();
  const bool literal = !decode_byte_alphabet(spelling, arena_);
  if (literal) arena_.append(spelling);
  const std::string_view bytes = std::string_view(arena_).substr(offset);
  if (const int32_t other = find(bytes, literal); other >= 0) {
    arena_.resize(offset);
    return fail(" and id " + std::to_string(other) + ", wanted each token once");
  }
  if (id >= size()) entries_.resize(size_t(id) + 1);
  entries_[size_t(id)] = {uint32_t(offset), uint32_t(bytes.size()), 1, literal};
  longest_ = std::max(longest_, bytes.size());
  if (++used_ * 2 > slots_.size()) grow();
  insert({hash_bytes(bytes), int32_t(id)});
  return ok_status();
}

int32_t Vocabulary::find_spelling(std::string_view spelling) const {
  std::string bytes;
  const bool literal = !decode_byte_alphabet(spelling, bytes);
  return find(literal ? spelling : std::string_view(bytes), literal);
}

int32_t Vocabulary::find(std::string_view wanted, bool literal) const {
  if (slots_.empty()) return -1;
  const size_t mask = slots_.size() - 1;
  const uint32_t hash = hash_bytes(wanted);
  for (size_t i = hash & mask; slots_[i].id >= 0; i = (i + 1) & mask) {
    const Slot& slot = slots_[i];
    if (slot.hash == hash && bytes(slot.id) == wanted && is_literal(slot.id) == literal) return slot.id;
  }
  return -1;
}

void Vocabulary::insert(Slot slot) {
  const size_t mask = slots_.size() - 1;
  size_t i = slot.hash & mask;
  while (slots_[i].id >= 0) i = (i + 1) & mask;
  slots_[i] = slot;
}

void Vocabulary::grow() {
  std::vector<Slot> old(std::max<size_t>(1024, slots_.size() * 2));
  old.swap(slots_);
  for (const Slot& slot : old)
    if (slot.id >= 0) insert(slot);
}

}  // namespace sluice
