// The promise of --batch-invariant on a GPU: that of the CPU (scheduler_test), request by request. For logits see same_bits_test.
#include "core/gpu.h"
#include "tests/support/schedules.h"

namespace sluice {
namespace {

using namespace testing;

// Prompts reach into a second stretch of attention's keys. SLUICE_CASES: how many requests are compared; SLUICE_SEED: another set
// of schedules.
TEST(BatchInvariant, SameBitsUnderAnySchedule) {
  if (detect_gpus().gpus.empty()) GTEST_SKIP() << "no GPU here";
  const char *wanted = std::getenv("SLUICE_CASES"), *seed_text = std::getenv("SLUICE_SEED");
  const uint64_t seed = seed_text ? uint64_t(std::atoll(seed_text)) : 7;
  const int64_t cases = wanted ? std::atoll(wanted) : 2000;
  const size_t at_a_time = size_t(std::clamp<int64_t>(cases / 8, 10, 100));
  constexpr int64_t kChunks = 5;
  Setting like{.device = {DeviceKind::kCuda, 0}, .batch_invariant = true};
  Schedules bf16(60, like, seed, kChunks);
  like.dtype = DTypeChoice::kF32;
  Schedules fp32(20, like, seed, kChunks);
  while (bf16.compared() < cases * 9 / 10) bf16.run(at_a_time);
  while (fp32.compared() < cases / 10) fp32.run(at_a_time);
  bf16.expect_all_happened();
}

}  // namespace
}  // namespace sluice
