// Every GPU form of every operator behind a slow kernel and ahead of an eager one, by programmatic dependent launches: 1000 replays
// must give the bits of plain launches. Kernels that are broken on purpose show that each part can fail.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "core/pdl.h"
#include "tests/bench/gpu_memory.h"
#include "tests/dependent_launch/chain.h"
#include "tests/support/op_bench.h"
#include "tests/support/op_testing.h"

namespace sluice::dependent_launch {
namespace {

constexpr int kReplays = 1000;

// Null where kernels do not start early.
Context* early_context() {
  Context* ctx = testing::gpu_context();
  return ctx && starts_early(ctx->gpu).yes() ? ctx : nullptr;
}

#define SKIP_WITHOUT_EARLY_START() \
  if (!early_context()) GTEST_SKIP() << "there is no GPU of compute capability 9.0 or newer"

Log log_of_copy(Copy how, bool last_waits = true) {
  constexpr int kWords = 3000;
  benching::GpuMemory memory(early_context()->device, std::make_shared<benching::Patterns>());
  benching::Inputs in(memory);
  const Tensor x = in.normal(DType::kF32, {kWords}), y = in.output(DType::kF32, {kWords});
  const Span work[] = {{static_cast<std::byte*>(x.data), x.bytes()}, {static_cast<std::byte*>(y.data), y.bytes()}};
  const auto log = run_chain(
      *early_context(), work,
      [&](Context& ctx) {
        return run_copy(ctx, how, static_cast<const uint32_t*>(x.data), static_cast<uint32_t*>(y.data), kWords);
      },
      kReplays, last_waits);
  EXPECT_TRUE(log.ok()) << log.status().to_string();
  return log.ok() ? *log : Log();
}

TEST(DependentLaunch, AKernelThatWaitsIsRight) {
  SKIP_WITHOUT_EARLY_START();
  const Log log = log_of_copy(Copy::kWaits);
  EXPECT_EQ(log.replay, uint32_t(kReplays + kReplays / 10));
  EXPECT_EQ(log.early + log.missed + log.wrong, 0u);  // though the slow kernel let it start ahead of all its stores
}

TEST(DependentLaunch, AKernelThatReadsEarlyIsFound) {
  SKIP_WITHOUT_EARLY_START();
  EXPECT_GT(log_of_copy(Copy::kReadsEarly).wrong, 0u);
}

TEST(DependentLaunch, AKernelThatWritesEarlyIsFound) {
  SKIP_WITHOUT_EARLY_START();
  EXPECT_GT(log_of_copy(Copy::kWritesEarly).early, 0u);
}

// Of the kernel behind it: it waits for this one alone, which does not wait.
TEST(DependentLaunch, AKernelThatNeverWaitsIsFound) {
  SKIP_WITHOUT_EARLY_START();
  EXPECT_GT(log_of_copy(Copy::kNeverWaits).wrong, 0u);
  EXPECT_GT(log_of_copy(Copy::kNeverWaits, false).missed, 0u);
  std::printf("behind a kernel that never waits, one that waits missed the slow one %u times\n",
              log_of_copy(Copy::kNeverWaits).missed);
}

// The bench's case with the least memory for each form of each operator.
struct Subject {
  const benching::Case* c = nullptr;
  size_t bytes = SIZE_MAX;
};

std::map<std::string, Subject> subjects() {
  std::map<std::string, Subject> best;
  for (const benching::Case& c : benching::cases()) {
    if (!c.on(DeviceKind::kCuda)) continue;
    benching::GpuMemory memory(early_context()->device, std::make_shared<benching::Patterns>());
    benching::Inputs in(memory);
    const auto call = c.make(in);
    if (!memory.status.ok() || !call->check().ok()) continue;
    for (size_t f = 0; f < c.forms.size(); ++f) {
      if (!call->can(f, *early_context()).yes()) continue;
      Subject& s = best[c.name.op + ":" + c.forms[f].name];
      if (memory.bytes < s.bytes) s = {&c, memory.bytes};
    }
  }
  return best;
}

TEST(DependentLaunch, EveryFormOfEveryOperator) {
  SKIP_WITHOUT_EARLY_START();
  for (const auto& [name, subject] : subjects()) {
    const benching::Case& c = *subject.c;
    benching::GpuMemory memory(early_context()->device, std::make_shared<benching::Patterns>());
    benching::Inputs in(memory);
    const auto call = c.make(in);
    size_t form = 0;
    while (name != c.name.op + ":" + c.forms[form].name) ++form;
    std::vector<Span> work;
    for (const Buffer& b : memory.buffers()) {
      const auto is_weight = [&](const Tensor& w) { return w.data == b.data(); };
      if (std::ranges::none_of(call->weights, is_weight)) work.push_back({b.data(), b.size()});
    }
    const auto log = run_chain(
        *early_context(), work, [&](Context& ctx) { return call->run(form, ctx); }, kReplays);
    ASSERT_TRUE(log.ok()) << name << ": " << log.status().to_string();
    EXPECT_EQ(log->early, 0u) << name << " " << c.name.label << " writes before the kernel ahead of it has ended";
    EXPECT_EQ(log->missed, 0u) << name << " " << c.name.label << " lets the kernel behind it run beside the one ahead of it";
    EXPECT_EQ(log->wrong, 0u) << name << " " << c.name.label << " gives other bits than plain launches";
  }
}

}  // namespace
}  // namespace sluice::dependent_launch
