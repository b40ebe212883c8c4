// The host's half: packing.
#include "core/cuda/upload.h"
#include "ops/sample/forms.h"
#include "ops/sample/table.h"

namespace sluice::sampling {
namespace {

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
  cuda::Upload to(ctx, size_t(sizes.bytes()), table);
  int32_t adjusted = 0;
  for (int64_t b = 0; b < sizes.rows; ++b) {
    const TableRow row{a.params[b], sample_adjusts(a, b) ? adjusted++ : -1};
    SLUICE_RETURN_IF_ERROR(to.write(&row, sizeof row));
  }
  int64_t at = sizes.first_list();
  for (int64_t b = 0; b < sizes.rows; ++b) {
    if (!sample_adjusts(a, b)) continue;
    Adjusted entry{.row = int32_t(b)};
    SLUICE_RETURN_IF_ERROR(each_list(a, b, [&](auto list, List Adjusted::*place) {
      entry.*place = {at, int64_t(list.size())};
      at += int64_t(list.size_bytes());
      return Status();
    }));
    SLUICE_RETURN_IF_ERROR(to.write(&entry, sizeof entry));
  }
  for (int64_t b = 0; b < sizes.rows; ++b)
    if (sample_adjusts(a, b))
      SLUICE_RETURN_IF_ERROR(each_list(a, b, [&](auto list, auto) { return to.write(list.data(), list.size_bytes()); }));
  return {};
}

}  // namespace sluice::sampling
