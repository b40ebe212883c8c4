// sluice doctor: what this machine is, and which implementation every operator gets and why.
#include <fmt/core.h>

#include <boost/json.hpp>

#include "cli/command.h"

namespace sluice::cli {
namespace {

struct DoctorOptions {
  bool ops = false, json = false;
};

// An implementation as it stands on this machine. Some also depend on a call's shapes; those say so when they refuse.
struct Verdict {
  std::string op, impl, reason;
  bool chosen = false;
};

std::vector<Verdict> judge_ops(const CpuFeatures& cpu, const ImplChoices& forced) {
  std::vector<Verdict> verdicts;
  for (const OpInfo& op : all_ops()) {
    const auto force = forced.find(op.name);
    bool taken = false;
    std::string winner;
    for (const ImplInfo& impl : op.impls) {
      Verdict v{op.name, impl.name, {}, false};
      const Can can = cpu_has(cpu, impl.isa);
      if (!can.yes()) v.reason = can.refusal;
      else if (force != forced.end() && force->second != impl.name) v.reason = "SLUICE_IMPL asks for " + force->second;
      else if (taken) v.reason = winner + " comes first";
      else
        v.chosen = taken = true, winner = impl.name,
        v.reason = force != forced.end() ? "asked for by SLUICE_IMPL" : "first in the list that this CPU runs";
      verdicts.push_back(std::move(v));
    }
  }
  return verdicts;
}

void print_text(const CpuFeatures& cpu, const std::vector<Verdict>& verdicts, bool ops) {
  fmt::print("{:<10} {}\n{:<10} {}\n", "version", SLUICE_VERSION, "CPU", cpu.brand);
  fmt::print("{:<10} {} physical\n", "cores", cpu.physical_cores);
  auto yes = [](bool b) { return b ? "yes" : "no"; };
  fmt::print("{:<10} AVX2 {}, AVX-512 {}, AVX-512 bf16 {}, AMX bf16 {}\n", "can do", yes(cpu.avx2), yes(cpu.avx512),
             yes(cpu.avx512_bf16), yes(cpu.amx_bf16));
  const auto demo = demo_model_dir();
  fmt::print("{:<10} {}\n", "demo model", demo.ok() ? *demo : demo.status().message());
  if (!ops) return;
  fmt::print("\n");
  std::string last;
  for (const Verdict& v : verdicts) {
    fmt::print("{:<20} {} {:<14} {}\n", v.op == last ? "" : v.op, v.chosen ? "*" : " ", v.impl, v.reason);
    last = v.op;
  }
}

void print_json(const CpuFeatures& cpu, const std::vector<Verdict>& verdicts) {
  boost::json::object ops;
  for (const Verdict& v : verdicts) {
    auto& list = ops.emplace(v.op, boost::json::array()).first->value().as_array();
    list.push_back({{"impl", v.impl}, {"chosen", v.chosen}, {"reason", v.reason}});
  }
  const boost::json::object all{{"version", SLUICE_VERSION},
                                {"cpu",
                                 {{"brand", cpu.brand},
                                  {"physical_cores", cpu.physical_cores},
                                  {"avx2", cpu.avx2},
                                  {"avx512", cpu.avx512},
                                  {"avx512_bf16", cpu.avx512_bf16},
                                  {"amx_bf16", cpu.amx_bf16}}},
                                {"ops", ops}};
  fmt::print("{}\n", boost::json::serialize(all));
}

Status doctor(const DoctorOptions& o) {
  SLUICE_ASSIGN_OR_RETURN(const Environment env, read_environment());
  const CpuFeatures cpu = detect_cpu_features();
  const std::vector<Verdict> verdicts = judge_ops(cpu, env.impl);
  o.json ? print_json(cpu, verdicts) : print_text(cpu, verdicts, o.ops);
  return {};
}

}  // namespace

void add_doctor(CLI::App& app, Command& command) {
  auto o = std::make_shared<DoctorOptions>();
  CLI::App* sub = app.add_subcommand("doctor", "show this machine and the implementation chosen for every operator");
  sub->add_flag("--ops", o->ops, "list every operator's implementations with the reason for the choice");
  sub->add_flag("--json", o->json, "print everything as JSON");
  sub->callback([o, &command] {
    command = [o] { return exit_code(doctor(*o)); };
  });
}

}  // namespace sluice::cli
