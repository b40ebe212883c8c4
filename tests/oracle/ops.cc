// Operator cases: every implementation that the device runs, in fp32 and bf16, within the case's tolerance.
#include <algorithm>
#include <cstring>
#include <ranges>
#include <set>

#include "core/runtime.h"
#include "op_runner/case_file.h"
#include "tests/oracle/parts.h"

namespace sluice {
namespace {

double value_at(const Tensor& t, int64_t i) {
  switch (t.dtype) {
    case DType::kF32:
      return t.as<float>()[i];
    case DType::kBF16:
      return float(t.as<Bf16>()[i]);
    case DType::kI32:
      return t.as<int32_t>()[i];
    case DType::kI8:
      return t.as<int8_t>()[i];
    case DType::kU8:
    case DType::kF8E4M3:
      return t.as<uint8_t>()[i];
    default:
      return NAN;
  }
}

struct Error {
  double rel_rms = 0, max_rel = 0;
};

// Over elements [begin, end) of two dense tensors of one shape.
Error error_between(const Tensor& got, const Tensor& want, int64_t begin, int64_t end) {
  double d2 = 0, w2 = 0, dm = 0, wm = 0;
  for (int64_t i = begin; i < end; ++i) {
    const double w = value_at(want, i), d = std::abs(value_at(got, i) - w);
    if (std::isinf(w) && value_at(got, i) == w) continue;
    if (std::isnan(d)) return {INFINITY, INFINITY};
    d2 += d * d, w2 += w * w, dm = std::max(dm, d), wm = std::max(wm, std::abs(w));
  }
  return {std::sqrt(d2 / (w2 > 0 ? w2 : 1)), dm / (wm > 0 ? wm : 1)};
}

bool same_values(const Tensor& got, const Tensor& want) {
  for (int64_t i = 0; i < want.numel(); ++i)
    if (value_at(got, i) != value_at(want, i)) return false;
  return true;
}

// Whether each row has the same ids, in any order.
bool same_sets(const Tensor& got, const Tensor& want) {
  const int64_t k = want.dim(want.rank - 1);
  for (int64_t row = 0; row < want.numel(); row += k) {
    std::multiset<double> a, b;
    for (int64_t i = row; i < row + k; ++i) a.insert(value_at(got, i)), b.insert(value_at(want, i));
    if (a != b) return false;
  }
  return true;
}

// Codes of e4m3 in order of their values.
int ordered_code(const Tensor& t, int64_t i, bool fp8) {
  const int code = int(value_at(t, i));
  return fp8 && code & 0x80 ? -(code & 0x7f) : code;
}

class CaseCheck {
 public:
  CaseCheck(const boost::json::object& entry, const CaseFile& file, Report& report) : entry_(entry), file_(file), report_(report) {}

  void run(const OpAdapter& adapter, const std::string& impl, bool bf16, Context ctx) {
    bf16_ = bf16;
    name_ = "ops/" + text("op") + "/" + text("case") + " " + adapter.op + ":" + impl + (bf16 ? " bf16" : " fp32");
    const ImplChoices forced = force_impl(adapter, impl, ctx);
    ctx.forced = &forced;
    OpCall call(ctx, file_.in, entry_.at("params").as_object(), bf16 ? DType::kBF16 : DType::kF32);
    if (const Status s = run_op(adapter, call); !s.ok()) {
      if (s.code() == Code::kUnsupported) return report_.skip(name_, s.message());
      return report_.check(name_, false, s.to_string());
    }
    for (const auto& [output, want] : file_.out) {
      if (output.ends_with("_fp64")) continue;  // what comes ahead of a rounding that the operator includes
      const auto it = call.outputs().find(output);
      if (it == call.outputs().end()) report_.check(name_ + " " + output, false, "the adapter gives no such output");
      else compare(output, it->second, want);
    }
  }

 private:
  std::string text(const char* key) const { return std::string(entry_.at(key).as_string()); }

  void compare(const std::string& output, const Tensor& got, const Tensor& want) {
    const std::string name = name_ + " " + output;
    if (got.rank != want.rank || got.shape != want.shape)
      return report_.check(name, false, "shape " + got.shape_string() + ", wanted " + want.shape_string());
    if (const auto* all = entry_.at("tolerance").as_object().if_contains("all"))
      return compare_quantised(name, output, got, want, all->as_object());
    const auto& tolerance = entry_.at("tolerance").at(bf16_ ? "bf16" : "fp32").as_object();
    if (tolerance.contains("ids")) return compare_choice(name, output, got, want, tolerance);
    // Integers, and bf16 values that are copies, must be equal.
    if (tolerance.contains("exact") || want.dtype == DType::kI32 || want.dtype == DType::kBF16)
      return report_.check(name, same_values(got, want), "exact");
    if (output == "g" && text("op") == "gating") compare_log_decay(name, got, want);
    if (entry_.at("tolerance").as_object().contains("state_note") && output == "state_pool")
      return compare_bf16_state(name, got, want);
    if (!bf16_ && entry_.at("tolerance").as_object().contains("fp32_small_positions") && (output[0] == 'q' || output[0] == 'k'))
      compare_small_positions(name, got, want);
    hold(name, error_between(got, want, 0, want.numel()), tolerance);
  }

  // Codes may differ by a step where a value lies near the middle of two; scales hardly.
  void compare_quantised(const std::string& name, const std::string& output, const Tensor& got, const Tensor& want,
                         const boost::json::object& limit) {
    if (output == "scale") {
      double worst = 0;
      for (int64_t i = 0; i < want.numel(); ++i) worst = std::max(worst, std::abs(value_at(got, i) / value_at(want, i) - 1));
      return report_.at_most(name + " relative", worst, limit.at("scale_max_rel").to_number<double>());
    }
    if (output == "scale_ue8m0") return report_.check(name, same_values(got, want), "exact");
    int worst = 0;
    int64_t different = 0;
    const bool codes = dtype_size(want.dtype) == 1, fp8 = want.dtype == DType::kU8;
    for (int64_t i = 0; i < want.numel(); ++i) {
      if (codes) worst = std::max(worst, std::abs(ordered_code(got, i, fp8) - ordered_code(want, i, fp8)));
      const double w = value_at(want, i), d = std::abs(value_at(got, i) - w);
      different += codes ? d != 0 : !(d <= 1e-6 * std::abs(w));
    }
    if (codes) report_.at_most(name + " codes apart", worst, limit.at("q_max_code_difference").to_number<double>());
    report_.at_most(name + " share different", double(different) / double(want.numel()),
                    limit.at("q_fraction_different").to_number<double>());
  }

  // What a choice of the largest is made from, the chosen, and their weights.
  void compare_choice(const std::string& name, const std::string& output, const Tensor& got, const Tensor& want,
                      const boost::json::object& limits) {
    const std::string_view ids = limits.at("ids").as_string();
    const bool sets = ids == "equal as sets", equal = sets || ids == "equal";
    if (output.ends_with("ids")) {
      if (equal) report_.check(name, sets ? same_sets(got, want) : same_values(got, want), sets ? "the same sets" : "exact");
      return;  // else near ties may fall otherwise, and with them the weights
    }
    const auto* limit = limits.if_contains(output.ends_with("weights") ? "weights" : output);
    if (!limit) return;
    const Error e = error_between(got, want, 0, want.numel());
    if (const auto* rms = limit->as_object().if_contains("rel_rms"))
      report_.at_most(name + " rel_rms", e.rel_rms, rms->to_number<double>());
    report_.at_most(name + " max_rel", e.max_rel, limit->at("max_rel").to_number<double>());
  }

  void hold(const std::string& name, Error e, const boost::json::object& limit) {
    report_.at_most(name + " rel_rms", e.rel_rms, limit.at("rel_rms").to_number<double>());
    report_.at_most(name + " max_rel", e.max_rel, limit.at("max_rel").to_number<double>());
  }

  // Element by element: |g - want| <= 1e-5 |want| + 1e-6 max|want|.
  void compare_log_decay(const std::string& name, const Tensor& got, const Tensor& want) {
    double most = 0, worst = 0;
    for (int64_t i = 0; i < want.numel(); ++i) most = std::max(most, std::abs(value_at(want, i)));
    for (int64_t i = 0; i < want.numel(); ++i) {
      const double w = value_at(want, i);
      worst = std::max(worst, std::abs(value_at(got, i) - w) / (1e-5 * std::abs(w) + 1e-6 * most));
    }
    report_.at_most(name + " elementwise", worst, 1);
  }

  // A bf16 state may differ from the rounded reference by one unit in the last place.
  void compare_bf16_state(const std::string& name, const Tensor& got, const Tensor& want) {
    int worst = 0;
    for (int64_t i = 0; i < want.numel(); ++i) {
      auto ordered = [](Bf16 b) { return b.bits & 0x8000 ? -int(b.bits & 0x7fff) : int(b.bits); };
      worst = std::max(worst, std::abs(ordered(Bf16(float(value_at(got, i)))) - ordered(Bf16(float(value_at(want, i))))));
    }
    report_.at_most(name + " ulp", worst, 1);
  }

  // Rows at positions up to 1000, where fp32 angles of the reference programs would still be sharp.
  void compare_small_positions(const std::string& name, const Tensor& got, const Tensor& want) {
    const Tensor& positions = file_.in.at("positions");
    const int64_t T = want.dim(0), row = want.numel() / std::max<int64_t>(T, 1), axes = positions.rank == 2 ? 3 : 1;
    const auto& limit = entry_.at("tolerance").at("fp32_small_positions").as_object();
    Error worst;
    for (int64_t t = 0; t < T; ++t) {
      bool small = true;
      for (int64_t a = 0; a < axes; ++a) small = small && positions.as<int32_t>()[a * T + t] <= 1000;
      if (!small) continue;
      const Error e = error_between(got, want, t * row, (t + 1) * row);
      worst = {std::max(worst.rel_rms, e.rel_rms), std::max(worst.max_rel, e.max_rel)};
    }
    hold(name + " small positions", worst, limit);
  }

  const boost::json::object& entry_;
  const CaseFile& file_;
  Report& report_;
  std::string name_;
  bool bf16_ = false;
};

void check_case(const OracleOptions& o, const boost::json::object& entry, const Context& ctx, Report& report) {
  const std::string op(entry.at("op").as_string()), name = "ops/" + op + "/" + std::string(entry.at("case").as_string());
  if (!o.wants(name)) return;
  const auto serves = [&](const OpAdapter& a) { return op == a.oracle; };
  if (std::ranges::none_of(op_adapters(), serves)) return report.skip(name, "this build has no operator for it");
  const auto file = open_case(o.folder + "/ops/" + std::string(entry.at("file").as_string()));
  if (!file.ok()) return report.check(name, false, file.status().to_string());
  const auto ops = all_ops();
  for (const OpAdapter& adapter : op_adapters()) {
    if (!serves(adapter)) continue;
    const auto info = std::ranges::find_if(ops, [&](const OpInfo& i) { return std::strcmp(i.name, adapter.op) == 0; });
    const auto of_this_device = [&](const ImplInfo& i) { return is_gpu(i.isa) == (ctx.gpu != nullptr); };
    if (std::ranges::none_of(info->impls, of_this_device)) report.skip(name + " " + adapter.op, "it has no form for this device");
    for (const ImplInfo& impl : info->impls | std::views::filter(of_this_device)) {
      Can can = machine_has(*ctx.cpu, ctx.gpu, impl.isa);
      if (can.yes() && !impl.built) can = Can::no("this build has no kernels for it");
      if (!can.yes()) {
        report.skip(name + " " + adapter.op + ":" + impl.name, can.refusal);
        continue;
      }
      CaseCheck check(entry, *file, report);
      if (o.dtypes.count("fp32")) check.run(adapter, impl.name, false, ctx);
      if (o.dtypes.count("bf16")) check.run(adapter, impl.name, true, ctx);
    }
  }
}

}  // namespace

void check_ops(const OracleOptions& o, Report& report) {
  const auto list = load_case_list(o.folder + "/ops/cases.json");
  if (!list.ok()) return report.check("ops", false, list.status().to_string());
  const auto runtime = Runtime::create(o.device, o.threads);
  if (!runtime.ok()) return report.check("ops", false, runtime.status().to_string());
  for (const auto& entry : list->at("cases").as_array()) check_case(o, entry.as_object(), (*runtime)->context(), report);
}

}  // namespace sluice
