#if SLUICE_HAS_CUDA

#include "core/cuda/tune.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "core/cuda/runtime.h"
#include "tests/bench/gpu.h"
#include "tests/bench/gpu_memory.h"

namespace sluice::benching {
namespace {

// Times of one form's tiles, summed over cases.
struct Total {
  Tile tile;
  double us = 0;
  int cases = 0;
};

// By "OPERATOR:FORM".
using Totals = std::map<std::string, std::vector<Total>>;

void add(std::vector<Total>& totals, const std::vector<cuda::TileTime>& times) {
  for (const cuda::TileTime& t : times) {
    auto total = std::ranges::find(totals, t.tile.size, [](const Total& x) { return x.tile.size; });
    if (total == totals.end()) total = totals.insert(total, {.tile = t.tile});
    total->us += t.us, ++total->cases;
  }
}

Status tune_case(const Case& c, const Context& ctx, Totals& totals) {
  GpuMemory memory(ctx.device, std::make_shared<Patterns>());
  Inputs inputs(memory);
  const auto call = c.make(inputs);
  SLUICE_RETURN_IF_ERROR(memory.status);
  SLUICE_RETURN_IF_ERROR(cuda::to_status(cudaDeviceSynchronize(), "copy of inputs to the GPU"));
  SLUICE_RETURN_IF_ERROR(call->check());
  for (size_t form = 0; form < c.forms.size(); ++form) {
    if (!c.forms[form].tiled || !call->can(form, ctx).yes()) continue;
    SLUICE_ASSIGN_OR_RETURN(const auto times, call->time_tiles(form, c.name.op, ctx));
    const std::string name = c.name.op + ":" + c.forms[form].name;
    for (const cuda::TileTime& t : times)
      fmt::print("{:<26} {:<16} {:>4} {:>12.2f} us {:>7} KB\n", name, c.name.label, t.tile.size, t.us, t.tile.shared / 1024);
    add(totals[name], times);
  }
  return {};
}

// The fastest of the tiles that served every case.
const Total& fastest(const std::vector<Total>& totals) {
  const int most = std::ranges::max(totals, {}, &Total::cases).cases;
  const auto cost = [&](const Total& t) { return t.cases == most ? t.us : INFINITY; };
  return *std::ranges::min_element(totals, {}, cost);
}

}  // namespace

Status tune_on_gpu(int index, const BenchOptions& o) {
  SLUICE_ASSIGN_OR_RETURN(const auto runtime, CudaRuntime::create(index, kWorkspace));
  const Context ctx = runtime->context();
  Totals totals;
  for (const Case& c : cases())
    if (c.on(DeviceKind::kCuda) && o.wants(c.name.op, c.name.label)) SLUICE_RETURN_IF_ERROR(tune_case(c, ctx, totals));
  if (totals.empty()) return {Code::kNotFound, "none of these cases has a form with tiles", "`docs/tuning.md` lists the forms"};
  std::string setting;
  for (const auto& [form, sizes] : totals)
    setting += (setting.empty() ? "" : ",") + form + ":" + std::to_string(fastest(sizes).tile.size);
  fmt::print("fastest over these cases: SLUICE_TILE={}\n", setting);
  return {};
}

}  // namespace sluice::benching

#endif
