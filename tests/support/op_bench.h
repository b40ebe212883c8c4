// What the operator benches share: registering every implementation that this machine runs, and the counters.
//
//   bench_impls("l2norm", "512x16x128", l2norm_impls(), args, {.bytes = ..., .flops = ...}, keep_alive);
//
// prints us, GB/s and GFLOP/s a call for each. Compare within one run only: these machines are shared.
#pragma once

#include <benchmark/benchmark.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "core/context.h"
#include "core/impl.h"

namespace sluice::benching {

inline Context& context() {
  static auto runtime = CpuRuntime::create(0).value();
  static Context ctx = runtime->context();
  return ctx;
}

struct Work {
  double bytes = 0, flops = 0;  // of one call: what must move, what must be computed
};

// `owner` keeps the memory behind `args` alive.
template <class Args>
void bench_impls(const std::string& op, const std::string& label, std::span<const Impl<Args>> impls, const Args& args, Work work,
                 std::shared_ptr<void> owner) {
  for (const auto& impl : impls) {
    if (!can_run(impl, context(), args).yes()) continue;
    benchmark::RegisterBenchmark((op + "/" + label + "/" + impl.name).c_str(), [&impl, args, work, owner](benchmark::State& state) {
      for (auto _ : state)
        if (const Status s = run_impl(impl, context(), args); !s.ok()) state.SkipWithError(s.to_string().c_str());
      using benchmark::Counter;
      if (work.bytes > 0) state.counters["GB/s"] = Counter(work.bytes / 1e9, Counter::kIsIterationInvariantRate);
      if (work.flops > 0) state.counters["GFLOP/s"] = Counter(work.flops / 1e9, Counter::kIsIterationInvariantRate);
    })->Unit(benchmark::kMicrosecond)->UseRealTime();
  }
}

}  // namespace sluice::benching
