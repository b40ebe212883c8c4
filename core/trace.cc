#include "core/trace.h"

#include "core/memory.h"
#if SLUICE_HAS_CUPTI
#include "core/cuda/cupti.h"
#endif

namespace sluice {

Result<Trace> Trace::start(Context& ctx) {
  if (ctx.device.kind == DeviceKind::kCpu) return Status(Code::kUnsupported, "only a GPU's work is traced", "give --device cuda:0");
#if SLUICE_HAS_CUPTI
  SLUICE_RETURN_IF_ERROR(wait_for(ctx));
  SLUICE_RETURN_IF_ERROR(cuda::start_tracing());
  return Trace(ctx);
#else
  return Status(Code::kUnsupported, "this build cannot trace a GPU's work: its CUDA toolkit had no cupti.h");
#endif
}

Trace::~Trace() {
#if SLUICE_HAS_CUPTI
  if (ctx_) cuda::stop_tracing();
#endif
}

Result<std::vector<DeviceWork>> Trace::take() {
  SLUICE_RETURN_IF_ERROR(wait_for(*ctx_));
#if SLUICE_HAS_CUPTI
  return cuda::take_trace();
#else
  return std::vector<DeviceWork>();
#endif
}

}  // namespace sluice
