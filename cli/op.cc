// sluice op: one operator on tensors from a file.
#include <fmt/core.h>

#include "cli/command.h"
#include "core/runtime.h"
#include "io/json.h"
#include "op_runner/case_file.h"

namespace sluice::cli {
namespace {

struct OpOptions {
  std::string name, in, out, impl, params, dtype = "fp32", device = "cpu";
  BackendFlags backend;
  int threads = 0;
};

std::string known_operators() {
  std::string names;
  for (const auto& a : op_adapters()) names += (names.empty() ? "" : ", ") + std::string(a.op);
  return names;
}

// Parameters of the case's entry in cases.json, with those of --params over them.
Result<boost::json::object> read_params(const OpOptions& o) {
  SLUICE_ASSIGN_OR_RETURN(boost::json::object params, params_of_case(o.in));
  if (o.params.empty()) return params;
  SLUICE_ASSIGN_OR_RETURN(const boost::json::value extra, parse_json(o.params, "--params"));
  if (!extra.is_object()) return invalid("--params is no JSON object", "write for example --params '{\"eps\": 1e-6}'");
  for (const auto& [key, value] : extra.as_object()) params[key] = value;
  return params;
}

Status run_op_command(const OpOptions& o) {
  const OpAdapter* adapter = find_op_adapter(o.name);
  if (!adapter) return invalid("there is no operator '" + o.name + "'", "there are: " + known_operators());
  SLUICE_ASSIGN_OR_RETURN(const CaseFile file, open_case(o.in));
  SLUICE_ASSIGN_OR_RETURN(const boost::json::object params, read_params(o));
  SLUICE_ASSIGN_OR_RETURN(const Device device, parse_device(o.device));
  SLUICE_ASSIGN_OR_RETURN(const auto runtime, Runtime::create(device, o.threads));
  Context ctx = runtime->context();
  SLUICE_ASSIGN_OR_RETURN(ImplChoices choices, choose_implementations(o.backend, ctx.gpu));
  if (!o.impl.empty()) {
    choices = force_impl(*adapter, o.impl, ctx);
    choices[adapter->op] = o.impl;  // so that one it does not have, or this device does not run, is refused with the reason
  }
  std::vector<Fallback> fallbacks;
  SLUICE_ASSIGN_OR_RETURN(const TileChoices tiles, choose_tiles());
  SLUICE_ASSIGN_OR_RETURN(const PdlChoice pdl, choose_pdl());
  ctx.forced = &choices, ctx.fallbacks = &fallbacks, ctx.tiles = &tiles, ctx.pdl = &pdl;
  OpCall call(ctx, file.in, params, o.dtype == "bf16" ? DType::kBF16 : DType::kF32);
  SLUICE_RETURN_IF_ERROR(run_op(*adapter, call));
  warn_about(fallbacks);
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const auto& [name, tensor] : call.outputs()) tensors.emplace_back("out." + name, tensor);
  return write_safetensors(o.out, tensors);
}

}  // namespace

void add_op(CLI::App& app, Command& command) {
  auto o = std::make_shared<OpOptions>();
  CLI::App* sub = app.add_subcommand("op", "run one operator on tensors from a file")->group("Look inside");
  sub->add_option("NAME", o->name, "the operator")->required()->type_name(kOperator);
  sub->add_option("--in", o->in,
                  "safetensors file with the inputs as in.NAME; parameters come from a cases.json beside or above it")
      ->required()
      ->type_name(kFile);
  sub->add_option("--out", o->out, "safetensors file to write, outputs as out.NAME")->required()->type_name(kFile);
  sub->add_option("--impl", o->impl, "force this implementation; `sluice doctor --ops` lists them")->type_name("NAME");
  sub->add_option("--params", o->params, "parameters as a JSON object")->type_name("JSON");
  sub->add_option("--dtype", o->dtype, "type of floating-point outputs and of operands where there is a choice")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->capture_default_str();
  sub->add_option("--device", o->device, "where to run: cpu or cuda:N")
      ->type_name(kDevice)
      ->envname("SLUICE_DEVICE")
      ->capture_default_str();
  add_backend_options(*sub, o->backend);
  sub->add_option("--threads", o->threads, "threads; 0 means one for each physical core")->check(CLI::Range(0, 1024));
  sub->callback([o, &command] { command = [o] { return exit_code(run_op_command(*o)); }; });
}

}  // namespace sluice::cli
