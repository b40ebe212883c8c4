#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>

namespace sluice {
namespace {

constexpr uint32_t kNone = PairRanks::kNone;

// Longer pieces are encoded in windows of this many bytes.
constexpr size_t kWindow = 64;
// Up to this many bytes are merged by looking at every pair each time, which in the cache beats a heap; more goes through a heap.
constexpr size_t kScan = 256;
// Seams remembered by a Scratch; a power of two.
constexpr size_t kSeams = 1024;

}  // namespace

PairRanks::PairRanks(size_t pairs)
    : mask_(std::bit_ceil(std::max<size_t>(pairs * 2, 2)) - 1), slots_(mask_ + 1), filter_(mask_ + 1) {}

void PairRanks::set(int32_t left, int32_t right, uint32_t rank) {
  const uint64_t key = key_of(left, right);
  size_t i = home(key);
  while (slots_[i].key != kFree && slots_[i].key != key) i = (i + 1) & mask_;
  slots_[i] = {key, rank};
  filter_[filter_byte(key)] |= filter_bit(key);
}

Bpe::Bpe(const Vocabulary& vocabulary, const std::vector<Merge>& merges, bool ignore_merges, const std::vector<int32_t>& never)
    : vocabulary_(vocabulary),
      byte_pair_rank_(256 * 256, kNone),
      ranks_(merges.size()),
      result_(merges.size()),
      whole_(std::make_unique<std::atomic<uint8_t>[]>(size_t(vocabulary.size()))) {
  if (ignore_merges)
    for (int64_t id = 0; id < vocabulary.size(); ++id) whole_[size_t(id)] = kYes;
  for (const int32_t id : never) whole_[size_t(id)] = kNo;
  for (int b = 0; b < 256; ++b) {
    const char byte = char(b);
    byte_id_[size_t(b)] = vocabulary.find_bytes({&byte, 1});
  }
  std::vector<bool> banned(size_t(vocabulary.size()));
  for (const int32_t id : never) banned[size_t(id)] = true;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const Merge& m = merges[rank];
    if (banned[size_t(m.result)]) continue;
    ranks_.set(m.left, m.right, uint32_t(rank));
    result_[rank] = m.result;
    const std::string_view left = vocabulary.bytes(m.left), right = vocabulary.bytes(m.right);
    if (left.size() != 1 || right.size() != 1 || vocabulary.is_literal(m.left) || vocabulary.is_literal(m.right)) continue;
    byte_pair_rank_[256u * static_cast<unsigned char>(left[0]) + static_cast<unsigned char>(right[0])] = uint32_t(rank);
  }
}

void Bpe::encode(std::string_view piece, std::vector<int32_t>& out, Scratch& scratch) const {
  const int32_t id = piece.size() <= vocabulary_.longest() ? vocabulary_.find_bytes(piece) : -1;
  if (id < 0) return merge(piece, out, scratch);
  const uint8_t whole = whole_[size_t(id)].load(std::memory_order_relaxed);
  if (whole == kYes) return out.push_back(id);
  const size_t before = out.size();
  merge(piece, out, scratch);
  if (whole == kUnknown) whole_[size_t(id)].store(out.size() == before + 1 ? kYes : kNo, std::memory_order_relaxed);
}

// Windows are encoded alone and joined. That is exact because of this: a sequence of tokens is the encoding of its text if and
// only if each two neighbours are the encoding of theirs. (Restricted to two neighbours, the merges done in the whole text are
// those done in the pair alone, up to the first one that crosses a boundary; so if no pair has such a merge, neither has the text.)
void Bpe::merge(std::string_view bytes, std::vector<int32_t>& out, Scratch& scratch) const {
  if (bytes.size() <= kWindow) return merge_window(bytes, out, scratch);
  const size_t first = out.size();
  for (size_t done = 0; done < bytes.size();) {
    const size_t seam = out.size();
    const std::string_view window = bytes.substr(done, kWindow);
    merge_window(window, out, scratch);
    done += window.size();
    if (seam > first) mend_seam(bytes.substr(0, done), first, seam, out, scratch);
  }
}

// out[first..] spells `bytes`, and only the neighbours at `seam` may be unstable. Encodes again what lies around it, wider on
// the side that does not fit, until both ends do. Twice as wide each time, so the work is that of the last time.
void Bpe::mend_seam(std::string_view bytes, size_t first, size_t seam, std::vector<int32_t>& out, Scratch& scratch) const {
  size_t low = seam, high = seam;  // out[low..high) was encoded as one
  bool left_fits = stable(out[seam - 1], out[seam], scratch), right_fits = left_fits;
  for (size_t reach = 1; !left_fits || !right_fits; reach *= 2) {
    if (!left_fits) low -= std::min(reach, low - first);
    if (!right_fits) high += std::min(reach, out.size() - high);
    const size_t tail = bytes_of(out, high, out.size()), length = bytes_of(out, low, high);
    scratch.mended.clear();
    merge_window(bytes.substr(bytes.size() - tail - length, length), scratch.mended, scratch);
    const auto at = out.erase(out.begin() + ptrdiff_t(low), out.begin() + ptrdiff_t(high));
    out.insert(at, scratch.mended.begin(), scratch.mended.end());
    high = low + scratch.mended.size();
    left_fits = low == first || stable(out[low - 1], out[low], scratch);
    right_fits = high == out.size() || stable(out[high - 1], out[high], scratch);
  }
}

bool Bpe::stable(int32_t left, int32_t right, Scratch& scratch) const {
  if (scratch.seams.empty()) scratch.seams.resize(kSeams);
  Scratch::Seam& seam = scratch.seams[(uint32_t(left) * 31 + uint32_t(right)) % kSeams];
  if (seam.left == left && seam.right == right) return seam.stable;
  std::string both(vocabulary_.bytes(left));
  both += vocabulary_.bytes(right);
  scratch.pair.clear();
  merge_window(both, scratch.pair, scratch);
  seam = {left, right, scratch.pair.size() == 2 && scratch.pair[0] == left && scratch.pair[1] == right};
  return seam.stable;
}

size_t Bpe::bytes_of(const std::vector<int32_t>& ids, size_t begin, size_t end) const {
  size_t n = 0;
  for (size_t i = begin; i < end; ++i) n += vocabulary_.bytes(ids[i]).size();
  return n;
}

void Bpe::merge_window(std::string_view bytes, std::vector<int32_t>& out, Scratch& scratch) const {
  return bytes.size() <= kScan ? merge_short(bytes, out) : merge_long(bytes, out, scratch);
}

void Bpe::merge_short(std::string_view bytes, std::vector<int32_t>& out) const {
  int32_t id[kScan];
  uint32_t rank[kScan];  // of the pair that begins here
  size_t n = bytes.size();
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  for (size_t i = 0; i < n; ++i) {
    id[i] = byte_id_[byte(i)];
    rank[i] = i + 1 < n ? byte_pair_rank_[256u * byte(i) + byte(i + 1)] : kNone;
  }
  while (n > 1) {
    uint64_t lowest = UINT64_MAX;  // rank and position in one number: no branch to mispredict
    for (size_t i = 0; i + 1 < n; ++i) lowest = std::min(lowest, uint64_t(rank[i]) << 32 | i);
    const size_t best = uint32_t(lowest);
    if (rank[best] == kNone) break;
    id[best] = result_[rank[best]];
    std::copy(id + best + 2, id + n, id + best + 1);
    std::copy(rank + best + 2, rank + n, rank + best + 1);
    --n;
    rank[best] = best + 1 < n ? ranks_.get(id[best], id[best + 1]) : kNone;
    if (best > 0) rank[best - 1] = ranks_.get(id[best - 1], id[best]);
  }
  out.insert(out.end(), id, id + n);
}

// A heap of (rank, position) and a list of symbols. An entry whose pair has changed since is passed over.
void Bpe::merge_long(std::string_view bytes, std::vector<int32_t>& out, Scratch& scratch) const {
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const auto entry = [](uint32_t rank, size_t position) { return uint64_t(rank) << 32 | position; };
  const size_t n = bytes.size();
  symbols.resize(n);
  heap.clear();
  for (size_t i = 0; i < n; ++i) {
    const uint32_t rank = i + 1 < n ? byte_pair_rank_[256u * byte(i) + byte(i + 1)] : kNone;
    symbols[i] = {byte_id_[byte(i)], int32_t(i) - 1, i + 1 < n ? int32_t(i) + 1 : -1, rank};
    if (rank != kNone) heap.push_back(entry(rank, i));
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  const auto pair_up = [&](int32_t left, int32_t right) {
    const uint32_t rank = ranks_.get(symbols[size_t(left)].id, symbols[size_t(right)].id);
    symbols[size_t(left)].rank = rank;
    if (rank == kNone) return;
    heap.push_back(entry(rank, size_t(left)));
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const uint32_t rank = uint32_t(heap.back() >> 32), position = uint32_t(heap.back());
    heap.pop_back();
    Scratch::Symbol& left = symbols[position];
    if (left.rank != rank) continue;
    Scratch::Symbol& right = symbols[size_t(left.next)];
    left.id = result_[rank];
    left.next = right.next;
    left.rank = right.rank = kNone;  // the right one is merged away
    if (left.next >= 0) {
      symbols[size_t(left.next)].previous = int32_t(position);
      pair_up(int32_t(position), left.next);
    }
    if (left.previous >= 0) pair_up(left.previous, int32_t(position));
  }
  for (int32_t i = n ? 0 : -1; i >= 0; i = symbols[size_t(i)].next) out.push_back(symbols[size_t(i)].id);
}

}  // namespace sluice
