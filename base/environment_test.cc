#include "base/environment.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

const CpuFeatures kNewest{.avx2 = true, .avx512 = true, .avx512_vnni = true, .avx512_bf16 = true, .amx_bf16 = true};

TEST(IsaLimit, LeavesWhatIsBelowIt) {
  const CpuFeatures plain = *limit_cpu_features(kNewest, "plain");
  EXPECT_FALSE(plain.avx2 || plain.avx512 || plain.avx512_vnni || plain.avx512_bf16 || plain.amx_bf16);
  const CpuFeatures avx2 = *limit_cpu_features(kNewest, "avx2");
  EXPECT_TRUE(avx2.avx2);
  EXPECT_FALSE(avx2.avx512 || avx2.avx512_vnni || avx2.avx512_bf16 || avx2.amx_bf16);
  const CpuFeatures avx512 = *limit_cpu_features(kNewest, "avx512");
  EXPECT_TRUE(avx512.avx2 && avx512.avx512);
  EXPECT_FALSE(avx512.avx512_vnni || avx512.avx512_bf16 || avx512.amx_bf16);
  const CpuFeatures bf16 = *limit_cpu_features(kNewest, "avx512_bf16");
  EXPECT_TRUE(bf16.avx2 && bf16.avx512 && bf16.avx512_vnni && bf16.avx512_bf16);
  EXPECT_FALSE(bf16.amx_bf16);
  EXPECT_TRUE(limit_cpu_features(kNewest, "amx")->amx_bf16);
}

TEST(IsaLimit, KeepsTheRest) {
  const CpuFeatures cpu = *limit_cpu_features({.brand = "Test CPU", .physical_cores = 3}, "plain");
  EXPECT_EQ(cpu.brand, "Test CPU");
  EXPECT_EQ(cpu.physical_cores, 3);
}

TEST(IsaLimit, IsSomethingThatTheCpuHas) {
  const Status more = limit_cpu_features({.avx2 = true}, "avx512").status();
  EXPECT_EQ(more.code(), Code::kUnsupported);
  EXPECT_EQ(more.message(), "SLUICE_ISA: this CPU has no avx512");
  EXPECT_EQ(more.hint(), "it has plain, avx2");
  const Status unknown = limit_cpu_features(kNewest, "sse9").status();
  EXPECT_EQ(unknown.code(), Code::kInvalidArgument);
  EXPECT_EQ(unknown.message(), "SLUICE_ISA: 'sse9' is no instruction set");
  EXPECT_EQ(unknown.hint(), "write one of plain, avx2, avx512, avx512_vnni, avx512_bf16, amx");
  EXPECT_FALSE(limit_cpu_features(kNewest, "").ok());
}

}  // namespace
}  // namespace sluice
