// The host's half: packing.
#include <cstring>

#include "core/cuda/upload.h"
#include "ops/sample/forms.h"
#include "ops/sample/table.h"

namespace sluice::sampling {
namespace {

// Bytes in a row on their way to the GPU, in pieces: whole tables are kept nowhere.
class Parcel {
 public:
  Parcel(Context& ctx, std::byte* to) : ctx_(ctx), to_(to) {}

  template <class T>
  Status add(std::span<const T> list) {
    return add_bytes(reinterpret_cast<const std::byte*>(list.data()), list.size_bytes());
  }
  template <class T>
  Status add_one(const T& x) {
    return add(std::span<const T>(&x, 1));
  }
  Status align(size_t to) {
    constexpr std::byte kZeros[16]{};
    return add_bytes(kZeros, (to - (sent_ + used_) % to) % to);
  }
  Status send() {
    SLUICE_RETURN_IF_ERROR(cuda::upload(ctx_, piece_, used_, to_ + sent_));
    sent_ += used_, used_ = 0;
    return {};
  }

 private:
  Status add_bytes(const std::byte* from, size_t bytes) {
    for (size_t n = 0; bytes > 0; from += n, bytes -= n) {
      if (used_ == kPiece) SLUICE_RETURN_IF_ERROR(send());
      n = std::min(bytes, kPiece - used_);
      std::memcpy(piece_ + used_, from, n);
      used_ += n;
    }
    return {};
  }

  static constexpr size_t kPiece = 64 << 10;
  Context& ctx_;
  std::byte* to_;
  size_t sent_ = 0, used_ = 0;
  std::byte piece_[kPiece];
};

// The tokens that have penalties.
std::span<const TokenUse> used_of(const SampleArgs& a, int64_t b) {
  const SamplingParams& p = a.params[b];
  const bool penalizes = p.repetition_penalty != 1 || p.presence_penalty != 0 || p.frequency_penalty != 0;
  return penalizes ? a.rows[b].used : std::span<const TokenUse>();
}

// Calls f(list) for each list of row b, in the order in which they are applied.
template <class F>
Status each_list(const SampleArgs& a, int64_t b, F&& f) {
  const SampleRow& row = a.rows[b];
  SLUICE_RETURN_IF_ERROR(f(row.allowed, &Adjusted::allowed));
  SLUICE_RETURN_IF_ERROR(f(row.bias, &Adjusted::bias));
  SLUICE_RETURN_IF_ERROR(f(used_of(a, b), &Adjusted::used));
  return f(row.banned, &Adjusted::banned);
}

}  // namespace

Sizes sizes_of(const SampleArgs& a) {
  Sizes s{.rows = a.logits.shape[0]};
  for (int64_t b = 0; b < s.rows; ++b) {
    if (!sample_adjusts(a, b)) continue;
    ++s.adjusted;
    (void)each_list(a, b, [&](auto list, auto) { return s.lists += int64_t(list.size_bytes()), Status(); });
  }
  return s;
}

Status upload_table(Context& ctx, const SampleArgs& a, std::byte* table) {
  const Sizes sizes = sizes_of(a);
  Parcel parcel(ctx, table);
  int32_t adjusted = 0;
  for (int64_t b = 0; b < sizes.rows; ++b)
    SLUICE_RETURN_IF_ERROR(parcel.add_one(TableRow{a.params[b], sample_adjusts(a, b) ? adjusted++ : -1}));
  SLUICE_RETURN_IF_ERROR(parcel.align(alignof(Adjusted)));
  int64_t at = sizes.first_list();
  for (int64_t b = 0; b < sizes.rows; ++b) {
    if (!sample_adjusts(a, b)) continue;
    Adjusted entry{.row = int32_t(b)};
    SLUICE_RETURN_IF_ERROR(each_list(a, b, [&](auto list, List Adjusted::*place) {
      entry.*place = {at, int64_t(list.size())};
      at += int64_t(list.size_bytes());
      return Status();
    }));
    SLUICE_RETURN_IF_ERROR(parcel.add_one(entry));
  }
  for (int64_t b = 0; b < sizes.rows; ++b) {
    if (!sample_adjusts(a, b)) continue;
    SLUICE_RETURN_IF_ERROR(each_list(a, b, [&](auto list, auto) { return parcel.add(list); }));
  }
  return parcel.send();
}

}  // namespace sluice::sampling
