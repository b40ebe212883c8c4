#include "ops/mla_prefill/body.h"

namespace sluice {

Status mla_prefill_cpu(Context& ctx, const MlaPrefillArgs& a, std::byte* scratch) {
  return mla_prefill_body<GqaPlain>(ctx, a, scratch);
}

size_t mla_prefill_workspace(const Context& ctx, const MlaPrefillArgs& a) {
  const MlaDims dims = mla_prefill_dims(a);
  return size_t(ctx.team->size()) * size_t(kMlaTileRows * dims.q_pitch() + dims.state_floats(kMlaTileRows)) * sizeof(float);
}

}  // namespace sluice
