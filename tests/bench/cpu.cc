#include "tests/bench/cpu.h"

#include <benchmark/benchmark.h>

#include <algorithm>

#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

// A case's call with the memory behind it.
struct Made {
  HostMemory memory;
  std::unique_ptr<AnyCall> call;
};

void measure(benchmark::State& state, const AnyCall& call, size_t form) {
  for (auto _ : state)
    if (const Status s = call.run(form, context()); !s.ok()) state.SkipWithError(s.to_string().c_str());
  using benchmark::Counter;
  if (call.work.bytes > 0) state.counters["GB/s"] = Counter(call.work.bytes / 1e9, Counter::kIsIterationInvariantRate);
  if (call.work.flops > 0) state.counters["GFLOP/s"] = Counter(call.work.flops / 1e9, Counter::kIsIterationInvariantRate);
}

void add(const Case& c, const ImplChoices& choices) {
  const auto choice = choices.find(c.name.op);
  auto made = std::make_shared<Made>();
  Inputs inputs(made->memory);
  made->call = c.make(inputs);
  for (size_t form = 0; form < c.forms.size(); ++form) {
    const bool wanted = choice == choices.end() || is_choice(choice->second, c.forms[form].name);
    if (!wanted || !made->call->can(form, context()).yes()) continue;
    const std::string name = c.name.op + "/" + c.name.label + "/" + c.forms[form].name;
    benchmark::RegisterBenchmark(name.c_str(), [made, form](benchmark::State& state) { measure(state, *made->call, form); })
        ->Unit(benchmark::kMicrosecond)
        ->UseRealTime();
  }
}

}  // namespace

int run_on_cpu(const std::vector<std::string>& ops, const ImplChoices& choices, const std::string& format) {
  std::string filter;
  for (const auto& op : ops) filter += (filter.empty() ? "--benchmark_filter=^(" : "|") + op;
  if (!filter.empty()) filter += ")/";
  std::string reporter = "--benchmark_format=" + (format == "md" ? "console" : format);
  std::vector<char*> args{const_cast<char*>("op_bench"), reporter.data()};
  if (!filter.empty()) args.push_back(filter.data());
  int count = int(args.size());
  benchmark::Initialize(&count, args.data());
  for (const Case& c : cases())
    if (c.on(DeviceKind::kCpu) && (ops.empty() || std::ranges::find(ops, c.name.op) != ops.end())) add(c, choices);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace sluice::benching
