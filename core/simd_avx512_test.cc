// Only the kernels are compiled for AVX-512: the rest must run, and skip, on any CPU.
#include "base/cpu_features.h"
#include "core/simd_checks.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma")
#include "core/simd_avx512.h"
#include "core/simd_kernels.h"
#pragma GCC pop_options

namespace sluice {
namespace {

TEST(Simd, Avx512) {
  if (!detect_cpu_features().avx512) GTEST_SKIP() << "this CPU has no AVX-512 F/BW/VL/DQ";
  simd_checks::check_all(simd_checks::kernels_of<simd::TestKernels<simd::Avx512>>());
}

}  // namespace
}  // namespace sluice
