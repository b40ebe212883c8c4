// gdn_prefill on compute capability 9.0: tensor cores through wgmma, operands through the copy engine; see sm90.cuh.
#include <algorithm>

#include "core/cuda/launch.h"
#include "core/cuda/tma.h"
#include "ops/gdn_prefill/sm90_plan.cuh"
#include "ops/gdn_prefill/sm90_solve.cuh"
#include "ops/gdn_prefill/sm90_update.cuh"

namespace sluice {
namespace gdn_sm90 {

static_assert(sizeof(UpdateShared) <= 227 << 10 && sizeof(Stage) % 1024 == 0);

// A sequence's first and last chunk may be short.
int64_t max_chunks(const Params& p) { return p.T / kC + 2 * p.B; }

size_t place_workspace(Params& p, std::byte* scratch, int) {
  size_t at = 0;
  const auto take = [&](auto*& to, int64_t count) {
    to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(scratch + at);
    at += (sizeof(*to) * count + 1023) / 1024 * 1024;
  };
  take(p.next, 1), take(p.order, p.B), take(p.first_chunk, p.B + 1), take(p.tickets, p.B * p.HK), take(p.solved, max_chunks(p) * p.HV);
  return at;
}

size_t workspace(Params p, int sms) { return place_workspace(p, nullptr, sms); }

template <class... Args>
cudaError_t run(void (*kernel)(Args...), dim3 grid, int threads, size_t shared, cudaStream_t stream, Args... args) {
  const cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared));
  if (e != cudaSuccess) return e;
  cudaLaunchAttribute dependent{};
  dependent.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  dependent.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid, config.blockDim = threads, config.dynamicSmemBytes = shared, config.stream = stream;
  config.attrs = &dependent, config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, kernel, args...);
}

cudaError_t launch(const Params& p, int sms, cudaStream_t stream) {
  const int group = p.HV / p.HK;
  // Heads of one key head share K K^T and Q K^T where there is work enough for every multiprocessor without.
  const int heads = group % 4 == 0 && max_chunks(p) * p.HK > 2 * sms ? 4 : group % 2 == 0 && max_chunks(p) * p.HK > sms ? 2 : 1;
  cudaError_t e = run(gdn_prefill_sm90_plan, dim3(1), kPlanThreads, 0, stream, p);
  if (e == cudaSuccess)
    e = run(gdn_prefill_sm90_solve, dim3(max_chunks(p), p.HV / heads), kGroup, sizeof(SolveShared), stream, p, heads);
  if (e == cudaSuccess)
    e = run(gdn_prefill_sm90_update, dim3(std::min<int64_t>(int64_t(p.B) * p.HV, sms)), kUpdateThreads, sizeof(UpdateShared), stream, p);
  return e;
}

}  // namespace gdn_sm90
}  // namespace sluice
