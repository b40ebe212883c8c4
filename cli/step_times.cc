#include "cli/step_times.h"

#include <algorithm>
#include <string_view>

#include "core/impl.h"

namespace sluice::cli {
namespace {

// A kernel's own name: without its type, its namespaces, template arguments and parameters.
std::string_view bare_name(std::string_view kernel) {
  constexpr std::string_view kUnnamed = "(anonymous namespace)::";
  if (const size_t at = kernel.find(kUnnamed); at != kernel.npos) kernel.remove_prefix(at + kUnnamed.size());
  kernel = kernel.substr(0, kernel.find_first_of("<("));
  return kernel.substr(kernel.find_last_of(": ") + 1);
}

struct Known {
  std::string_view part, op;
};
// Kernels that are not called as their operator is; the first whose part the name holds. gdn_verify has those of gdn_decode.
constexpr Known kKnown[] = {
    {"StepOp", "gdn_step"}, {"::append_kernel", "gdn_decode"}, {"::close_kernel", "gdn_close"}, {"gdn::gpu", "gdn_prefill"},
    {"gqa_", "attention"},  {"attention_", "attention"},       {"upload_kernel", "tables"},     {"few_rows_kernel", "matmul"}};
// Those of cuBLASLt.
constexpr std::string_view kProducts[] = {"nvjet", "cutlass", "gemm", "gemv", "splitK", "cublas"};

bool holds(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

// Takes the work of a layer, kernel by kernel.
struct Layer {
  bool delta_rule = false, has_mlp = false;
  int64_t launches = 0, norms = 0, mixer_launches = 0;
  double us = 0, matmul_us = 0;

  void add(const std::string& op, double time) {
    ++launches, us += time;
    if (op == "rmsnorm") ++norms;
    else if (norms == 1) ++mixer_launches;
    if (op == "matmul") matmul_us += time;
    if (op == "silu_mul") has_mlp = true;
    if (op.starts_with("gdn_")) delta_rule = true;
  }
};

void count(StepTimes& t, const Layer& l) {
  if (!l.has_mlp || !l.delta_rule) return;
  ++t.gdn_layers, t.gdn_layer_launches += l.launches, t.gdn_mixer_launches += l.mixer_launches;
  t.gdn_layers_us += l.us, t.gdn_layers_matmul_us += l.matmul_us;
}

}  // namespace

std::string operator_of(const std::string& kernel) {
  if (kernel == "[copy]") return "copy";
  if (kernel == "[fill]") return "fill";
  for (const Known& k : kKnown)
    if (holds(kernel, k.part)) return std::string(k.op);
  const std::string_view name = bare_name(kernel);
  std::string_view longest;
  static const std::vector<OpInfo> ops = all_ops();
  for (const OpInfo& o : ops)
    if (holds(name, o.name) && std::string_view(o.name).size() > longest.size()) longest = o.name;
  if (!longest.empty()) return std::string(longest);
  for (const std::string_view part : kProducts)
    if (holds(kernel, part)) return "matmul";
  return std::string(name);
}

StepTimes step_times(const std::vector<DeviceWork>& work) {
  StepTimes t;
  if (work.empty()) return t;
  Layer layer;
  double until = work.front().begin;
  for (const DeviceWork& w : work) {
    const std::string op = operator_of(w.name);
    if (op == "rmsnorm" && (layer.has_mlp || layer.norms == 0)) count(t, std::exchange(layer, {}));
    const double gap = std::max(0.0, w.begin - until), us = std::max(0.0, w.end - std::max(w.begin, until));
    t.gaps_us += gap, until = std::max(until, w.end);
    layer.add(op, us);
    auto known = std::ranges::find(t.operators, op, &OperatorTime::op);
    if (known == t.operators.end()) known = t.operators.insert(known, {op});
    ++known->launches, known->us += us;
  }
  count(t, layer);
  t.us = until - work.front().begin;
  std::ranges::stable_sort(t.operators, std::greater(), &OperatorTime::us);
  return t;
}

int64_t StepTimes::launches() const {
  int64_t n = 0;
  for (const OperatorTime& o : operators) n += o.launches;
  return n;
}

double StepTimes::of(const std::string& op) const {
  const auto o = std::ranges::find(operators, op, &OperatorTime::op);
  return o == operators.end() ? 0 : o->us;
}

}  // namespace sluice::cli
