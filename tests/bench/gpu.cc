#if SLUICE_HAS_CUDA

#include "tests/bench/gpu.h"

#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <algorithm>
#include <csignal>
#include <ctime>
#include <set>

#include "base/clock.h"
#include "base/median.h"
#include "core/ceiling.h"
#include "core/cuda/graph.h"
#include "core/cuda/runtime.h"
#include "core/pdl.h"
#include "core/tile.h"
#include "tests/bench/compare.h"
#include "tests/bench/gpu_memory.h"
#include "tests/bench/peers.h"
#include "tests/bench/report.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

using cuda::to_status;

constexpr double kSmallFlops = 5e8, kSmallBytes = 64e6;  // up to here the reference answers within a second
constexpr int64_t kCheckedSequences = 8;                 // of a large batch, on the CPU
constexpr double kGraphSeconds = 0.02;                   // of work in a graph: launches of graphs then weigh nothing
constexpr int kReplays = 9, kWarmups = 2, kMostSets = 64, kMostCalls = 512;

double floor_us(const Gpu& gpu, const Work& work) {
  const Ceiling* c = ceiling_of(gpu);
  return c ? 1e6 * std::max(work.bytes / c->bytes_per_s, work.flops / c->flops_per_s) : 0;
}

// A call with its inputs in the GPU's memory.
struct Set {
  std::unique_ptr<GpuMemory> memory;
  std::unique_ptr<AnyCall> call;
};

// While it lives, kernels are launched when the one before them has ended.
class PlainLaunches {
 public:
  explicit PlainLaunches(Context& ctx) : ctx_(ctx), before_(ctx.dependent_launch) { ctx.dependent_launch = false; }
  ~PlainLaunches() { ctx_.dependent_launch = before_; }

 private:
  Context& ctx_;
  bool before_;
};

// A form's run on fresh inputs.
struct Trial {
  size_t form = 0;
  Status status;
  std::vector<HostCopy> outputs;
  double first_us = 0, tenth_us = 0;
};

class GpuBench {
 public:
  GpuBench(CudaRuntime& runtime, Peers peers, ImplChoices choices, Environment env, bool launches)
      : runtime_(runtime),
        ctx_(runtime.context()),
        peers_(std::move(peers)),
        choices_(std::move(choices)),
        env_(std::move(env)),
        launches_(launches) {
    ctx_.tiles = &env_.tile, ctx_.pdl = &env_.pdl;
  }

  void measure(const Case& c);
  std::vector<Row> rows;

 private:
  Result<Set> make_set(const Case& c, int64_t step);
  Trial try_form(const Case& c, size_t form);
  std::vector<size_t> forms_to_measure(const Case& c, const AnyCall& call, const std::vector<size_t>& able);
  Status judge(const Case& c, const AnyCall& call, const Trial& trial, const std::vector<Trial>& all, Row& row);
  Result<std::vector<HostCopy>> on_cpu(const Case& c, bool reference, std::string& name);
  Status measure_form(const Case& c, const AnyCall& call, const Trial& trial, const std::vector<Trial>& all, std::vector<Set>& sets,
                      Row& row);
  Status time_form(size_t form, std::span<const Set> sets, Row& row);
  Result<double> time_calls(size_t form, std::span<const Set> sets, double about_us);
  Result<std::vector<Set>> make_sets(const Case& c);

  CudaRuntime& runtime_;
  Context ctx_;
  Peers peers_;
  ImplChoices choices_;
  Environment env_;
  bool launches_;                       // also measures plain launches and warm inputs
  std::shared_ptr<Patterns> patterns_;  // of the case in hand
};

Result<Set> GpuBench::make_set(const Case& c, int64_t step) {
  Set s{std::make_unique<GpuMemory>(ctx_.device, patterns_), nullptr};
  Inputs inputs(*s.memory, step);
  s.call = c.make(inputs);
  SLUICE_RETURN_IF_ERROR(s.memory->status);
  SLUICE_RETURN_IF_ERROR(to_status(cudaDeviceSynchronize(), "copy of inputs to the GPU"));
  SLUICE_RETURN_IF_ERROR(s.call->check());
  return s;
}

Trial GpuBench::try_form(const Case& c, size_t form) {
  Trial t{.form = form};
  t.status = [&]() -> Status {
    SLUICE_ASSIGN_OR_RETURN(Set set, make_set(c, -1));
    for (int call = 1; call <= 10; ++call) {
      const double begin = now_seconds();
      SLUICE_RETURN_IF_ERROR(set.call->run(form, ctx_));
      SLUICE_RETURN_IF_ERROR(runtime_.synchronize());
      const double us = 1e6 * (now_seconds() - begin);
      if (call == 1) {
        t.first_us = us;
        SLUICE_ASSIGN_OR_RETURN(t.outputs, copy_to_host(set.call->outputs));
      }
      t.tenth_us = us;
    }
    return {};
  }();
  return t;
}

// Those that can, or what was chosen of them.
std::vector<size_t> GpuBench::forms_to_measure(const Case& c, const AnyCall& call, const std::vector<size_t>& able) {
  const auto choice = choices_.find(c.name.op);
  if (choice == choices_.end()) return able;
  const char* why = "it has no form of that name";
  for (size_t f = 0; f < c.forms.size(); ++f) {
    if (!is_choice(choice->second, c.forms[f].name)) continue;
    const Can can = call.can(f, ctx_);
    if (can.yes()) return {f};
    why = can.refusal;
  }
  fmt::print(stderr, "{} {}: '{}' was chosen, but {}\n", c.name.op, c.name.label, choice->second.impl, why);
  if (choice->second.strict || able.empty()) return {};
  return {able.front()};
}

// The outputs of a form of the CPU: the reference, or the first in the list.
Result<std::vector<HostCopy>> GpuBench::on_cpu(const Case& c, bool reference, std::string& name) {
  HostMemory memory(patterns_);
  Inputs inputs(memory, -1, kCheckedSequences);
  const auto call = c.make(inputs);
  SLUICE_RETURN_IF_ERROR(memory.status);
  SLUICE_RETURN_IF_ERROR(call->check());
  for (size_t f = 0; f < c.forms.size(); ++f) {
    name = c.forms[f].name;
    if ((reference && name != "reference") || !call->can(f, context()).yes()) continue;
    SLUICE_RETURN_IF_ERROR(call->run(f, context()));
    return copy_to_host(call->outputs);
  }
  return Status(Code::kUnsupported, "no other form can check it");
}

Status GpuBench::judge(const Case& c, const AnyCall& call, const Trial& trial, const std::vector<Trial>& all, Row& row) {
  SLUICE_RETURN_IF_ERROR(trial.status);
  if (call.outputs.empty()) return {};  // it is there for its time alone
  const bool small = call.work.flops <= kSmallFlops && call.work.bytes <= kSmallBytes;
  const Trial* other = nullptr;  // the last in the list is the plainest
  for (const Trial& t : all)
    if (t.form != trial.form && t.status.ok()) other = &t;
  std::vector<HostCopy> from_cpu;
  if (small || !other) {
    SLUICE_ASSIGN_OR_RETURN(from_cpu, on_cpu(c, small, row.checked));
  } else {
    row.checked = c.forms[other->form].name;
  }
  row.difference = difference(trial.outputs, small || !other ? from_cpu : other->outputs);
  if (row.difference <= call.limit) return {};
  return {Code::kDevice, fmt::format("differs from {} by {:.2e}, wanted at most {:.1e}", row.checked, row.difference, call.limit)};
}

Result<std::vector<Set>> GpuBench::make_sets(const Case& c) {
  int l2 = 0;
  SLUICE_RETURN_IF_ERROR(to_status(cudaDeviceGetAttribute(&l2, cudaDevAttrL2CacheSize, ctx_.device.index), "size of the L2 cache"));
  std::vector<Set> sets;
  SLUICE_ASSIGN_OR_RETURN(Set first, make_set(c, 0));
  const int64_t cold = 2 * int64_t(l2) / std::max<int64_t>(int64_t(first.memory->bytes), 1) + 2, cycle = first.call->cycle;
  const int64_t count = (std::min<int64_t>(cold, kMostSets) + cycle - 1) / cycle * cycle;
  sets.push_back(std::move(first));
  for (int64_t i = 1; i < count; ++i) {
    SLUICE_ASSIGN_OR_RETURN(Set s, make_set(c, i));
    sets.push_back(std::move(s));
  }
  return sets;
}

// Microseconds of a call, one of `sets` after the other; `about_us` is what one takes, roughly.
Result<double> GpuBench::time_calls(size_t form, std::span<const Set> sets, double about_us) {
  const int64_t fit = int64_t(kGraphSeconds * 1e6 / std::max(about_us, 1.0)), most = std::min<int64_t>(fit, kMostCalls);
  const int64_t rounds = std::max<int64_t>(most / int64_t(sets.size()), 1), calls = rounds * int64_t(sets.size());
  SLUICE_ASSIGN_OR_RETURN(const cuda::Graph graph, cuda::Graph::capture(ctx_, [&]() -> Status {
                            for (int64_t i = 0; i < calls; ++i)
                              SLUICE_RETURN_IF_ERROR(sets[size_t(i) % sets.size()].call->run(form, ctx_));
                            return {};
                          }));
  std::vector<double> us;
  for (int i = 0; i < kWarmups + kReplays; ++i) {
    SLUICE_ASSIGN_OR_RETURN(const double replay, graph.time(ctx_));
    if (i >= kWarmups) us.push_back(replay / double(calls));
  }
  return median(std::move(us));
}

Status GpuBench::time_form(size_t form, std::span<const Set> sets, Row& row) {
  SLUICE_ASSIGN_OR_RETURN(row.us, time_calls(form, sets, row.tenth_us));
  if (!launches_) return {};
  const auto warm = sets.first(size_t(sets[0].call->cycle));
  SLUICE_ASSIGN_OR_RETURN(row.warm_us, time_calls(form, warm, row.tenth_us));
  const PlainLaunches plain(ctx_);
  SLUICE_ASSIGN_OR_RETURN(row.plain_us, time_calls(form, sets, row.tenth_us));
  SLUICE_ASSIGN_OR_RETURN(row.warm_plain_us, time_calls(form, warm, row.tenth_us));
  return {};
}

void GpuBench::measure(const Case& c) {
  const PdlScope pdl(ctx_, c.name.op);
  patterns_ = std::make_shared<Patterns>();
  const auto failed = [&](const std::string& form, const Status& s) {
    rows.push_back({.op = c.name.op, .label = c.name.label, .form = form, .error = s.to_string()});
    fmt::print(stderr, "{} {} {}: FAILED: {}\n", c.name.op, c.name.label, form, s.to_string());
  };
  auto probe = make_set(c, -1);
  if (!probe.ok()) return failed("", probe.status());
  const AnyCall& call = *probe->call;
  std::vector<size_t> able;
  for (size_t f = 0; f < c.forms.size(); ++f)
    if (call.can(f, ctx_).yes()) able.push_back(f);
  const std::vector<size_t> wanted = forms_to_measure(c, call, able);
  if (wanted.empty()) return fmt::print(stderr, "{} {}: no form to measure\n", c.name.op, c.name.label);
  std::set<size_t> tried(wanted.begin(), wanted.end());
  for (const size_t f : {able.back(), able.front()})  // to check against, the plainest form first
    if (tried.size() == 1) tried.insert(f);
  std::vector<Trial> trials;
  for (const size_t f : tried) trials.push_back(try_form(c, f));
  auto sets = make_sets(c);
  if (!sets.ok()) return failed("", sets.status());
  for (const Trial& t : trials) {
    if (std::ranges::find(wanted, t.form) == wanted.end()) continue;
    Row row{.op = c.name.op, .label = c.name.label, .form = c.forms[t.form].name};
    if (const Status s = measure_form(c, call, t, trials, *sets, row); !s.ok()) {
      failed(row.form, s);
      continue;
    }
    fmt::print(stderr, "{} {} {}: {:.2f} us\n", row.op, row.label, row.form, row.us);
    rows.push_back(std::move(row));
  }
}

Status GpuBench::measure_form(const Case& c, const AnyCall& call, const Trial& trial, const std::vector<Trial>& all,
                              std::vector<Set>& sets, Row& row) {
  row.first_us = trial.first_us, row.tenth_us = trial.tenth_us, row.state = call.state_bytes,
  row.workspace = call.workspace(trial.form, ctx_);
  SLUICE_RETURN_IF_ERROR(judge(c, call, trial, all, row));
  SLUICE_RETURN_IF_ERROR(time_form(trial.form, sets, row));
  row.gbs = call.work.bytes / row.us / 1e3, row.tflops = call.work.flops / row.us / 1e6,
  row.floor_us = floor_us(runtime_.gpu(), call.work);
  if (const auto it = peers_.best.find(call.peer); it != peers_.best.end()) row.peer = it->second.name, row.peer_us = it->second.us;
  return {};
}

volatile std::sig_atomic_t stopped = 0;  // by the user: the case in hand is the last

std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[16];
  std::strftime(text, sizeof text, "%Y-%m-%d", std::gmtime(&now));
  return text;
}

// Peers' times that hold for this GPU; none where there is no file, or it is another GPU's.
Result<Peers> peers_for(const Gpu& gpu, const std::string& given) {
  const std::string path = given.empty() ? default_peers_path(gpu.name) : given;
  if (path.empty()) return Peers{};
  SLUICE_ASSIGN_OR_RETURN(Peers peers, read_peers(path));
  if (peers.device == gpu.name) return peers;
  fmt::print(stderr, "{}: times of {}, not of this {}; left out\n", path, peers.device, gpu.name);
  return Peers{};
}

}  // namespace

Result<bool> run_on_gpu(int index, const BenchOptions& o) {
  SLUICE_ASSIGN_OR_RETURN(const auto runtime, CudaRuntime::create(index, kWorkspace));
  SLUICE_ASSIGN_OR_RETURN(const BackendPlan plan, choose_backends(o.backend, &runtime->gpu()));
  for (const std::string& w : plan.warnings) fmt::print(stderr, "warning: {}\n", w);
  ImplChoices choices = plan.choices;
  if (!o.impl.empty())
    for (const Case& c : cases()) choices[c.name.op] = o.impl;
  SLUICE_ASSIGN_OR_RETURN(Peers peers, peers_for(runtime->gpu(), o.peers));
  SLUICE_ASSIGN_OR_RETURN(const Environment env, read_environment());
  SLUICE_RETURN_IF_ERROR(check_tile_choices(env.tile, all_ops()));
  SLUICE_RETURN_IF_ERROR(check_pdl_choice(env.pdl, all_ops()));
  GpuBench bench(*runtime, std::move(peers), std::move(choices), env, o.launches);
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, [](int) { stopped = 1; });
  for (const Case& c : cases())
    if (!stopped && c.on(DeviceKind::kCuda) && o.wants(c.name.op, c.name.label)) bench.measure(c);
  if (stopped) fmt::print(stderr, "stopped; what follows is what was measured\n");
  int l2 = 0;
  SLUICE_RETURN_IF_ERROR(to_status(cudaDeviceGetAttribute(&l2, cudaDevAttrL2CacheSize, index), "size of the L2 cache"));
  const Run run{.gpu = runtime->gpu(), .date = today(), .l2_mb = double(l2) / 1e6, .rows = std::move(bench.rows)};
  print(run, o.format, stdout);
  if (!o.save.empty()) {
    SLUICE_ASSIGN_OR_RETURN(const std::string path, save(run, o.ops, o.save));
    fmt::print(stderr, "saved {}.md and .json\n", path);
  }
  if (!o.plot.empty()) SLUICE_RETURN_IF_ERROR(plot(run, o.plot));
  if (run.rows.empty())
    return Status(Code::kNotFound, "no case was measured", "`op_bench --device cuda:0` without names measures all");
  return !stopped && std::ranges::none_of(run.rows, [](const Row& r) { return !r.error.empty(); });
}

}  // namespace sluice::benching

#endif
