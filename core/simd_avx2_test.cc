// Only the kernels are compiled for AVX2: the rest must run, and skip, on any CPU.
#include "base/cpu_features.h"
#include "core/simd_checks.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#include "core/simd_avx2.h"
#include "core/simd_kernels.h"
#pragma GCC pop_options

namespace sluice {
namespace {

TEST(Simd, Avx2) {
  if (!detect_cpu_features().avx2) GTEST_SKIP() << "this CPU has no AVX2 with FMA and F16C";
  simd_checks::check_all(simd_checks::kernels_of<simd::TestKernels<simd::Avx2>>());
}

}  // namespace
}  // namespace sluice
