// sluice doctor: what this machine is, and which implementation every operator gets on each device and why.
#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "cli/command.h"
#include "cli/gpu_table.h"
#include "cli/machine_report.h"
#include "core/impl.h"
#include "core/pdl.h"

namespace sluice::cli {
namespace {

struct DoctorOptions {
  std::string model;
  bool ops = false, json = false, no_bandwidth = false;
  std::string gpus;  // a file that describes GPUs; empty: this machine's
  BackendFlags backend;
};

// An implementation as it stands on a device. Some also depend on a call's shapes; those say so when they refuse.
struct Verdict {
  std::string op, impl, reason;
  bool runs = false, chosen = false;
};

// A GPU, or the CPU, and what its operators get.
struct Place {
  const Gpu* gpu = nullptr;
  BackendPlan plan;
  std::vector<Verdict> verdicts;
};

std::string origin(const ImplChoice& choice) { return choice.strict ? "SLUICE_IMPL" : "--linear-attn-backend"; }

std::string first_reason(const Gpu* gpu) { return std::string("first in the list that this ") + (gpu ? "GPU" : "CPU") + " runs"; }

std::vector<Verdict> judge_op(const OpInfo& op, const CpuFeatures& cpu, const Gpu* gpu, const ImplChoice* choice) {
  std::vector<Verdict> verdicts;
  for (const ImplInfo& impl : op.impls) {
    Can can = machine_has(cpu, gpu, impl.isa);
    if (can.yes() && !impl.built) can = Can::no("this build has no kernels for it");
    verdicts.push_back({op.name, impl.name, can.yes() ? "" : can.refusal, can.yes(), false});
  }
  const auto runs = [](const Verdict& v) { return v.runs; };
  auto winner = std::ranges::find_if(verdicts, runs);
  std::string why = first_reason(gpu);
  if (choice) {
    const auto wanted = std::ranges::find_if(verdicts, [&](const Verdict& v) { return v.runs && is_choice(*choice, v.impl); });
    if (wanted != verdicts.end()) winner = wanted, why = "asked for by " + origin(*choice);
    else if (choice->strict) winner = verdicts.end();
  }
  for (auto v = verdicts.begin(); v != verdicts.end(); ++v) {
    if (v == winner) v->chosen = true, v->reason = why;
    else if (v->runs && choice && !is_choice(*choice, v->impl)) v->reason = origin(*choice) + " asks for " + choice->impl;
    else if (v->runs) v->reason = winner->impl + " comes first";  // a form that runs and is of the choice has a winner
  }
  return verdicts;
}

Result<Place> judge(const CpuFeatures& cpu, const Gpu* gpu, const BackendFlags& flags, ImplChoices choices) {
  Place place{.gpu = gpu};
  SLUICE_ASSIGN_OR_RETURN(place.plan, choose_backends(flags, gpu));
  choices.insert(place.plan.choices.begin(), place.plan.choices.end());  // keeps what SLUICE_IMPL says
  for (const OpInfo& op : all_ops()) {
    const auto choice = choices.find(op.name);
    for (Verdict& v : judge_op(op, cpu, gpu, choice == choices.end() ? nullptr : &choice->second))
      place.verdicts.push_back(std::move(v));
  }
  return place;
}

std::string gpu_line(const Gpu& g) {
  return fmt::format("{}, compute capability {}.{}, {:.1f} GB, {} SMs, {} KB of shared memory a block", g.name, g.major, g.minor,
                     double(g.memory) / 1e9, g.sms, g.shared_memory / 1024);
}

// Whether kernels start while the one before them ends, and why or for which operators.
struct EarlyStart {
  bool on = false;
  std::string words;
};

EarlyStart early_start(const Gpu& gpu, const PdlChoice& choice) {
  if (const Can can = starts_early(&gpu); !can.yes()) return {false, std::string("off: ") + can.refusal};
  if (choice.all) return {true, "on"};
  if (choice.ops.empty()) return {false, "off: SLUICE_PDL=0"};
  return {true, fmt::format("on for {}: SLUICE_PDL", fmt::join(choice.ops, ", "))};
}

void print_ops(const std::vector<Verdict>& verdicts) {
  std::string last;
  for (const Verdict& v : verdicts) {
    fmt::print("{:<20} {} {:<14} {}\n", v.op == last ? "" : v.op, v.chosen ? "*" : " ", v.impl, v.reason);
    last = v.op;
  }
}

void print_text(const Environment& env, const MachineReport& machine, const GpuList& gpus, const std::vector<Place>& places,
                bool ops) {
  const CpuFeatures& cpu = env.cpu;
  fmt::print("{:<10} {}\n{:<10} {}\n", "version", SLUICE_VERSION, "CPU", cpu.brand);
  fmt::print("{:<10} {} physical\n", "cores", cpu.physical_cores);
  auto yes = [](bool b) { return b ? "yes" : "no"; };
  fmt::print("{:<10} AVX2 {}, AVX-512 {}, AVX-512 VNNI {}, AVX-512 bf16 {}, AMX bf16 {}\n", "used", yes(cpu.avx2), yes(cpu.avx512),
             yes(cpu.avx512_vnni), yes(cpu.avx512_bf16), yes(cpu.amx_bf16));
  if (!env.isa.empty()) fmt::print("{:<10} up to {}: SLUICE_ISA\n", "", env.isa);
  fmt::print("{}", describe(machine));
  fmt::print("{:<10} {}\n", "CUDA",
             build_cuda_version() ? "built with " + cuda_version_text(build_cuda_version()) : "none in this build");
  for (size_t i = 0; i < gpus.gpus.size(); ++i) {
    fmt::print("{:<10} {}\n", "cuda:" + std::to_string(i), gpu_line(gpus.gpus[i]));
    fmt::print("{:<10} programmatic dependent launch {}\n", "", early_start(gpus.gpus[i], env.pdl).words);
  }
  if (gpus.gpus.empty()) fmt::print("{:<10} none: {}\n", "GPUs", gpus.why_none);
  const auto demo = demo_model_dir();
  fmt::print("{:<10} {}\n", "demo model", demo.ok() ? *demo : demo.status().message());
  for (const Place& p : places)
    for (const std::string& w : p.plan.warnings) fmt::print("{:<10} {}\n", "warning", w);
  if (!ops) return;
  for (const Place& p : places) {
    const std::string device = p.gpu ? "cuda:" + std::to_string(p.gpu - gpus.gpus.data()) : "cpu";
    fmt::print("\noperators on {}, gated delta prefill {}, decode {}\n", device, p.plan.prefill, p.plan.decode);
    print_ops(p.verdicts);
  }
}

boost::json::object ops_json(const std::vector<Verdict>& verdicts) {
  boost::json::object ops;
  for (const Verdict& v : verdicts) {
    auto& list = ops.emplace(v.op, boost::json::array()).first->value().as_array();
    list.push_back({{"impl", v.impl}, {"runs", v.runs}, {"chosen", v.chosen}, {"reason", v.reason}});
  }
  return ops;
}

boost::json::object gpu_json(const Place& p, const PdlChoice& pdl) {
  const Gpu& g = *p.gpu;
  const EarlyStart early = early_start(g, pdl);
  return {{"name", g.name},
          {"compute_capability", fmt::format("{}.{}", g.major, g.minor)},
          {"memory_bytes", g.memory},
          {"sms", g.sms},
          {"shared_memory_bytes", g.shared_memory},
          {"prefill_backend", p.plan.prefill},
          {"decode_backend", p.plan.decode},
          {"dependent_launch", {{"on", early.on}, {"reason", early.words}}},
          {"warnings", boost::json::array(p.plan.warnings.begin(), p.plan.warnings.end())},
          {"ops", ops_json(p.verdicts)}};
}

void print_json(const Environment& env, const MachineReport& machine, const GpuList& gpus, const std::vector<Place>& places) {
  const CpuFeatures& cpu = env.cpu;
  boost::json::array list;
  for (const Place& p : places)
    if (p.gpu) list.push_back(gpu_json(p, env.pdl));
  const int cuda = build_cuda_version();
  const boost::json::object all{{"version", SLUICE_VERSION},
                                {"cpu",
                                 {{"brand", cpu.brand},
                                  {"physical_cores", cpu.physical_cores},
                                  {"avx2", cpu.avx2},
                                  {"avx512", cpu.avx512},
                                  {"avx512_vnni", cpu.avx512_vnni},
                                  {"avx512_bf16", cpu.avx512_bf16},
                                  {"amx_bf16", cpu.amx_bf16},
                                  {"limit", env.isa.empty() ? boost::json::value(nullptr) : boost::json::value(env.isa)}}},
                                {"machine", to_json(machine)},
                                {"cuda", cuda ? boost::json::value(cuda_version_text(cuda)) : boost::json::value(nullptr)},
                                {"gpus", list},
                                {"why_no_gpus", gpus.why_none},
                                {"ops", ops_json(places[0].verdicts)}};
  fmt::print("{}\n", boost::json::serialize(all));
}

// The CPU first, then every GPU. Where there are GPUs the flags are theirs.
Result<std::vector<Place>> judge_all(const CpuFeatures& cpu, const GpuList& gpus, const BackendFlags& flags,
                                     const ImplChoices& choices) {
  std::vector<Place> places;
  SLUICE_ASSIGN_OR_RETURN(Place on_cpu, judge(cpu, nullptr, gpus.gpus.empty() ? flags : BackendFlags{}, choices));
  places.push_back(std::move(on_cpu));
  for (const Gpu& g : gpus.gpus) {
    SLUICE_ASSIGN_OR_RETURN(Place p, judge(cpu, &g, flags, choices));
    places.push_back(std::move(p));
  }
  return places;
}

Status doctor(const DoctorOptions& o) {
  SLUICE_ASSIGN_OR_RETURN(const Environment env, read_environment());
  SLUICE_RETURN_IF_ERROR(check_pdl_choice(env.pdl, all_ops()));
  SLUICE_ASSIGN_OR_RETURN(const GpuList gpus, o.gpus.empty() ? Result<GpuList>(detect_gpus()) : read_gpu_table(o.gpus));
  SLUICE_ASSIGN_OR_RETURN(const std::vector<Place> places, judge_all(env.cpu, gpus, o.backend, env.impl));
  std::optional<TokenCost> cost;
  if (!o.model.empty()) {
    SLUICE_ASSIGN_OR_RETURN(cost, token_cost(o.model));
    SLUICE_ASSIGN_OR_RETURN(cost->model, model_name({.model = o.model}));
  }
  SLUICE_ASSIGN_OR_RETURN(MachineReport machine, examine_machine(!o.no_bandwidth, env.cpu.physical_cores));
  machine.cost = std::move(cost);
  o.json ? print_json(env, machine, gpus, places) : print_text(env, machine, gpus, places, o.ops);
  return {};
}

}  // namespace

void add_doctor(CLI::App& app, Command& command) {
  auto o = std::make_shared<DoctorOptions>();
  CLI::App* sub =
      app.add_subcommand("doctor", "show this machine, and the implementation chosen for every operator")->group("Look inside");
  sub->add_option("MODEL", o->model, "folder of a checkpoint, to say how fast this machine can write its answers at most")
      ->type_name(kDir);
  sub->add_flag("--ops", o->ops, "list every operator's implementations with the reason for the choice");
  sub->add_option("--gpus", o->gpus, "judge the GPUs that this file describes, as printed by --json on another machine")
      ->type_name(kFile);
  sub->add_flag("--no-bandwidth", o->no_bandwidth, "do not measure the memory's bandwidth");
  sub->add_flag("--json", o->json, "print everything as JSON");
  add_backend_options(*sub, o->backend);
  sub->callback([o, &command] { command = [o] { return exit_code(doctor(*o)); }; });
}

}  // namespace sluice::cli
