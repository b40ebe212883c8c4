#include "core/simd_checks.h"
#include "core/simd_kernels.h"

namespace sluice {
namespace {

TEST(Simd, Plain) { simd_checks::check_all(simd_checks::kernels_of<simd::TestKernels<simd::Plain>>()); }

}  // namespace
}  // namespace sluice
