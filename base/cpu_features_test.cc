#include "base/cpu_features.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/cpuid.h"

namespace sluice {
namespace {

constexpr CpuidAnswers kNewest{
    .leaf1_ecx = ~0u, .leaf7_ebx = ~0u, .leaf7_ecx = ~0u, .leaf7_edx = ~0u, .leaf7_1_eax = ~0u, .saved = ~uint64_t(0)};

// How many of the instruction sets, each of which has those before it, are there.
int sets_of(const CpuidAnswers& answers) {
  const CpuFeatures f = features_of(answers);
  EXPECT_GE(f.avx2, f.avx512);
  EXPECT_GE(f.avx512, f.avx512_vnni);
  EXPECT_GE(f.avx512_vnni, f.avx512_bf16);
  EXPECT_GE(f.avx512_bf16, f.amx_bf16);
  return f.avx2 + f.avx512 + f.avx512_vnni + f.avx512_bf16 + f.amx_bf16;
}

TEST(CpuFeatures, AreWhatTheCpuAndTheSystemHave) {
  EXPECT_EQ(sets_of(kNewest), 5);
  EXPECT_EQ(sets_of({}), 0);
  const struct {
    const char* without;
    std::function<void(CpuidAnswers&)> take;
    int sets;
  } cases[] = {
      {"FMA", [](CpuidAnswers& a) { a.leaf1_ecx &= ~(1u << 12); }, 0},
      {"AVX", [](CpuidAnswers& a) { a.leaf1_ecx &= ~(1u << 28); }, 0},
      {"AVX2", [](CpuidAnswers& a) { a.leaf7_ebx &= ~(1u << 5); }, 0},
      {"AVX's registers saved", [](CpuidAnswers& a) { a.saved &= ~uint64_t(4); }, 0},
      {"AVX-512 F", [](CpuidAnswers& a) { a.leaf7_ebx &= ~(1u << 16); }, 1},
      {"AVX-512 VL", [](CpuidAnswers& a) { a.leaf7_ebx &= ~(1u << 31); }, 1},
      {"AVX-512's masks saved", [](CpuidAnswers& a) { a.saved &= ~uint64_t(0x20); }, 1},
      {"AVX-512 VNNI", [](CpuidAnswers& a) { a.leaf7_ecx &= ~(1u << 11); }, 2},
      {"AVX-512 BF16", [](CpuidAnswers& a) { a.leaf7_1_eax &= ~(1u << 5); }, 3},
      {"AMX BF16", [](CpuidAnswers& a) { a.leaf7_edx &= ~(1u << 22); }, 4},
      {"tiles saved", [](CpuidAnswers& a) { a.saved &= ~uint64_t(0x40000); }, 4},
  };
  for (const auto& c : cases) {
    CpuidAnswers answers = kNewest;
    c.take(answers);
    EXPECT_EQ(sets_of(answers), c.sets) << "without " << c.without;
  }
}

// Of AMD's cores, a bf16 dot product is as fast as an FMA.
TEST(CpuFeatures, FastBf16) {
  CpuidAnswers amd = kNewest, intel = kNewest;
  amd.leaf0_ebx = 0x68747541, intel.leaf0_ebx = 0x756e6547;
  EXPECT_TRUE(features_of(amd).fast_bf16);
  EXPECT_FALSE(features_of(intel).fast_bf16);
  amd.leaf7_1_eax = 0;
  EXPECT_FALSE(features_of(amd).fast_bf16);
}

TEST(CpuFeatures, OfThisMachine) {
  const CpuFeatures f = detect_cpu_features();
  EXPECT_GE(f.physical_cores, 1);
  EXPECT_FALSE(f.brand.empty());
  EXPECT_NE(f.brand.back(), ' ');
}

}  // namespace
}  // namespace sluice
