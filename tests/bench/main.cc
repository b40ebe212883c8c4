// op_bench: the operators' benches, on the CPU or on a GPU. `sluice bench ops` starts it.
#include <CLI/CLI.hpp>

#include "core/backend.h"
#include "core/runtime.h"
#include "tests/bench/cpu.h"
#include "tests/bench/gpu.h"
#include "tests/support/op_bench.h"

namespace {

int fail(const sluice::Status& s) {
  std::fprintf(stderr, "op_bench: error: %s\n", s.to_string().c_str());
  return 1;
}

int bench_cpu(const sluice::benching::BenchOptions& o) {
  if (!o.plot.empty() || !o.save.empty() || !o.peers.empty() || !o.labels.empty() || o.launches)
    return fail(sluice::invalid("--plot, --save, --peers, --case and --launches are for a GPU", "add --device cuda:0"));
  const auto plan = sluice::choose_backends(o.backend, nullptr);
  if (!plan.ok()) return fail(plan.status());
  for (const std::string& w : plan->warnings) std::fprintf(stderr, "warning: %s\n", w.c_str());
  sluice::ImplChoices choices = plan->choices;
  if (!o.impl.empty())
    for (const auto& c : sluice::benching::cases()) choices[c.name.op] = o.impl;
  return sluice::benching::run_on_cpu(o.ops, choices, o.format);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace sluice;
  benching::BenchOptions o;
  std::string device = "cpu";
  bool tune = false;
  CLI::App app{"Measures operators; compare within one run only."};
  app.add_option("NAME", o.ops, "operators; all if left out");
  app.add_option("--device", device, "cpu or cuda:N")->capture_default_str();
  app.add_option("--case", o.labels, "on a GPU: only cases whose label contains this; may be given several times")
      ->allow_extra_args(false);
  app.add_option("--impl", o.impl, "only this implementation");
  app.add_option("--linear-attn-backend", o.backend.both)->capture_default_str();
  app.add_option("--linear-attn-prefill-backend", o.backend.prefill);
  app.add_option("--linear-attn-decode-backend", o.backend.decode);
  app.add_option("--peers", o.peers, "times of other kernels, from tools/bench_peers.py; by default those in docs/performance");
  app.add_option("-o,--output", o.format, "md, json or csv")->check(CLI::IsMember({"md", "json", "csv"}))->capture_default_str();
  app.add_option("--plot", o.plot, "on a GPU: also draw the shares of the floor as an SVG file");
  app.add_option("--save", o.save, "on a GPU: also write the table and the figures into this folder, named by device and date")
      ->check(CLI::ExistingDirectory);
  app.add_flag("--launches", o.launches,
               "on a GPU: also time plain launches (no programmatic dependent launch) and inputs that are in the L2 cache");
  app.add_flag("--tune", tune, "on a GPU: time the tiles of the forms that have several, and say which setting is fastest");
  CLI11_PARSE(app, argc, argv);
  const auto parsed = parse_device(device);
  if (!parsed.ok()) return fail(parsed.status());
  if (parsed->kind == DeviceKind::kCpu) return tune ? fail(invalid("--tune is for a GPU", "add --device cuda:0")) : bench_cpu(o);
#if SLUICE_HAS_CUDA
  if (tune) {
    const Status tuned = benching::tune_on_gpu(parsed->index, o);
    return tuned.ok() ? 0 : fail(tuned);
  }
  const auto passed = benching::run_on_gpu(parsed->index, o);
  if (!passed.ok()) return fail(passed.status());
  return *passed ? 0 : 1;
#else
  return fail(Runtime::create(*parsed).status());
#endif
}
