#include "cli/bench_trace.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <thread>

#include "base/clock.h"
#include "base/median.h"
#include "cli/bench_sequences.h"
#include "cli/plot.h"
#include "cli/step_times.h"
#include "core/ceiling.h"

namespace sluice::cli {
namespace {

constexpr int kWarmups = 3, kRepeats = 5;  // steps; a graph is recorded in the second and first replayed in the third

// Ahead of each step, so that traced and untraced ones find a GPU as cool and its clock as high.
constexpr std::chrono::milliseconds kPause{30};

// A step of one row for each of some sequences, and of a new sequence's first rows.
struct StepKind {
  std::string name;
  int64_t decoding = 0, prompt = 0;
};

struct TracedStep {
  StepKind kind;
  double us = 0;  // by the host's clock, without a trace: launches and the wait for the end included
  StepTimes times;
  double products_floor_us = 0, floor_us = 0;  // 0: unknown
};

// Sequences for steps of one kind, and the steps.
class Steps {
 public:
  Steps(Engine& engine, const StepKind& kind, int64_t depth) : engine_(engine), kind_(kind), depth_(depth) {}
  ~Steps() { close_all(engine_, sequences_), close_all(engine_, fresh_); }
  Status open() {
    SLUICE_ASSIGN_OR_RETURN(sequences_, open_at_depth(engine_, kind_.decoding, depth_));
    return {};
  }
  // Computes one more, between two calls of `before` and `after`; waits for its end.
  template <class Before, class After>
  Status step(Before&& before, After&& after) {
    std::vector<Work> work;
    for (auto& s : sequences_) {
      SLUICE_RETURN_IF_ERROR(engine_.append(*s, 1));
      work.push_back({s.get(), 1});
    }
    if (kind_.prompt > 0) {
      SLUICE_ASSIGN_OR_RETURN(fresh_, open_at_depth(engine_, 1, depth_));
      for (const int32_t id : some_ids(kind_.prompt, engine_.model().config().vocab_size, 99))
        SLUICE_RETURN_IF_ERROR(engine_.append(*fresh_[0], id));
      work.push_back({fresh_[0].get(), kind_.prompt});
    }
    SLUICE_RETURN_IF_ERROR(engine_.wait());
    std::this_thread::sleep_for(kPause);
    SLUICE_RETURN_IF_ERROR(before());
    const auto done = engine_.step(work);
    if (!done.ok()) return done.status();
    SLUICE_RETURN_IF_ERROR(engine_.wait());
    SLUICE_RETURN_IF_ERROR(after());
    close_all(engine_, fresh_);
    return {};
  }

 private:
  Engine& engine_;
  StepKind kind_;
  int64_t depth_;
  Sequences sequences_, fresh_;
};

// us of the median step.
Result<double> time_steps(Engine& engine, const StepKind& kind, int64_t depth) {
  Steps steps(engine, kind, depth);
  SLUICE_RETURN_IF_ERROR(steps.open());
  std::vector<double> us;
  double begin = 0;
  const auto start = [&] { return begin = now_seconds(), Status(); };
  const auto stop = [&] { return us.push_back(1e6 * (now_seconds() - begin)), Status(); };
  for (int i = 0; i < kWarmups + kRepeats; ++i) SLUICE_RETURN_IF_ERROR(steps.step(start, stop));
  us.erase(us.begin(), us.begin() + kWarmups);
  return median(us);
}

// The traced step of median length.
Result<StepTimes> trace_step(Engine& engine, Trace& trace, const StepKind& kind, int64_t depth) {
  Steps steps(engine, kind, depth);
  SLUICE_RETURN_IF_ERROR(steps.open());
  std::vector<StepTimes> all;
  const auto start = [&] { return trace.take().status(); };
  const auto stop = [&]() -> Status {
    SLUICE_ASSIGN_OR_RETURN(const std::vector<DeviceWork> work, trace.take());
    return all.push_back(step_times(work)), Status();
  };
  for (int i = 0; i < kWarmups + kRepeats; ++i) SLUICE_RETURN_IF_ERROR(steps.step(start, stop));
  all.erase(all.begin(), all.begin() + kWarmups);
  std::ranges::sort(all, {}, &StepTimes::us);
  return all[all.size() / 2];
}

// Weights of all layers' products.
double layer_weights(const ModelConfig& c) {
  const double h = double(c.hidden_size), value = double(c.linear_value_heads * c.linear_value_dim);
  const double linear =
      h * (2 * double(c.linear_key_heads * c.linear_key_dim) + 2 * value + 2 * double(c.linear_value_heads)) + h * value;
  const double q = double(c.num_attention_heads * c.head_dim), kv = double(c.num_kv_heads * c.head_dim);
  const double full = h * ((c.attn_output_gate ? 2 : 1) * q + 2 * kv) + h * q;
  double sum = 3 * h * double(c.intermediate_size) * double(c.num_layers);
  for (const LayerKind kind : c.layers) sum += kind == LayerKind::kLinearAttention ? linear : full;
  return sum;
}

// What the device needs at best: for the products, and for all, with the states and keys that decoding reads.
void set_floors(Engine& engine, int64_t depth, TracedStep& s) {
  const Ceiling* top = ceiling_of(*engine.context().gpu);
  if (!top) return;
  const ModelConfig& c = engine.model().config();
  const double size = double(dtype_size(engine.model().activation_dtype()));
  const auto product = [&](double rows, double weights) {
    return 1e6 * std::max(2 * rows * weights / top->flops_per_s, size * weights / top->bytes_per_s);
  };
  const double decoding = double(s.kind.decoding), logits = decoding + (s.kind.prompt > 0 ? 1 : 0);
  s.products_floor_us =
      product(decoding + double(s.kind.prompt), layer_weights(c)) + product(logits, double(c.hidden_size) * double(c.vocab_size));
  const PoolSpec p = engine.model().pool_spec(false);
  const double state = double(p.linear_layers * p.value_heads * p.key_dim * p.value_dim) * double(sizeof(float));
  const double keys = double(depth * p.attention_layers * 2 * p.kv_heads * p.head_dim) * double(dtype_size(p.kv_dtype));
  s.floor_us = s.products_floor_us + 1e6 * decoding * (state + keys) / top->bytes_per_s;
}

double percent(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

void print_md(const std::string& title, const std::vector<TracedStep>& all) {
  for (const TracedStep& s : all) {
    const StepTimes& t = s.times;
    fmt::print("{}, {}: {:.1f} us a step, {:.1f} us from its first to its last kernel when traced\n\n", title, s.kind.name, s.us,
               t.us);
    fmt::print("| operator | launches | us | share |\n| --- | ---: | ---: | ---: |\n");
    for (const OperatorTime& o : t.operators)
      fmt::print("| {} | {} | {:.1f} | {:.1f} % |\n", o.op, o.launches, o.us, percent(o.us, t.us));
    fmt::print("| between kernels | {} | {:.1f} | {:.1f} % |\n\n", t.launches(), t.gaps_us, percent(t.gaps_us, t.us));
    fmt::print("Without a trace the kernels' {:.1f} us leave {:.1f} % of the step.", t.us - t.gaps_us,
               percent(s.us - (t.us - t.gaps_us), s.us));
    if (t.gdn_layers > 0)
      fmt::print(" A gated delta layer is {:.1f} launches, {:.1f} of them between its norms; {:.1f} % of its time is not matmul.",
                 double(t.gdn_layer_launches) / double(t.gdn_layers), double(t.gdn_mixer_launches) / double(t.gdn_layers),
                 100 - percent(t.gdn_layers_matmul_us, t.gdn_layers_us));
    if (s.floor_us > 0)
      fmt::print(" At the device's best products take {:.1f} us ({:.1f} % of matmul's time), the step {:.1f} us ({:.1f} %).",
                 s.products_floor_us, percent(s.products_floor_us, t.of("matmul")), s.floor_us, percent(s.floor_us, s.us));
    fmt::print("\n\n");
  }
}

void print_csv(const std::vector<TracedStep>& all) {
  fmt::print("step,operator,launches,us\n");
  for (const TracedStep& s : all) {
    for (const OperatorTime& o : s.times.operators) fmt::print("\"{}\",{},{},{:.3f}\n", s.kind.name, o.op, o.launches, o.us);
    fmt::print("\"{}\",between kernels,{},{:.3f}\n", s.kind.name, s.times.launches(), s.times.gaps_us);
  }
}

void print_json(const std::string& title, const std::vector<TracedStep>& all) {
  boost::json::array steps;
  for (const TracedStep& s : all) {
    boost::json::array operators;
    for (const OperatorTime& o : s.times.operators)
      operators.push_back({{"operator", o.op}, {"launches", o.launches}, {"us", o.us}});
    steps.push_back({{"step", s.kind.name},
                     {"us", s.us},
                     {"traced_us", s.times.us},
                     {"gaps_us", s.times.gaps_us},
                     {"launches", s.times.launches()},
                     {"gdn_layers", s.times.gdn_layers},
                     {"gdn_layer_launches", s.times.gdn_layer_launches},
                     {"gdn_mixer_launches", s.times.gdn_mixer_launches},
                     {"gdn_layers_us", s.times.gdn_layers_us},
                     {"gdn_layers_matmul_us", s.times.gdn_layers_matmul_us},
                     {"products_floor_us", s.products_floor_us},
                     {"floor_us", s.floor_us},
                     {"operators", operators}});
  }
  fmt::print("{}\n", boost::json::serialize(boost::json::object{{"model", title}, {"steps", steps}}));
}

std::vector<StepKind> kinds_of(const TraceOptions& o, int64_t chunk) {
  const int64_t prompt = std::min(o.prompt, chunk);
  std::vector<StepKind> kinds;
  if (prompt > 0) kinds.push_back({"prefill of " + std::to_string(prompt), 0, prompt});
  kinds.push_back({"decode of " + std::to_string(o.batch), o.batch, 0});
  if (prompt > 0 && o.batch > 1)
    kinds.push_back(
        {"decode of " + std::to_string(o.batch - 1) + " beside a prefill of " + std::to_string(prompt), o.batch - 1, prompt});
  return kinds;
}

}  // namespace

Status trace_steps(Engine& engine, const TraceOptions& o) {
  if (!engine.context().gpu) return Trace::start(engine.context()).status();  // it says why
  std::vector<TracedStep> all;
  for (const StepKind& kind : kinds_of(o, engine.options().prefill_chunk)) {
    SLUICE_ASSIGN_OR_RETURN(const double us, time_steps(engine, kind, o.depth));
    all.push_back({kind, us});
  }
  SLUICE_ASSIGN_OR_RETURN(Trace trace, Trace::start(engine.context()));
  engine.forget_graphs();
  for (TracedStep& s : all) {
    SLUICE_ASSIGN_OR_RETURN(s.times, trace_step(engine, trace, s.kind, o.depth));
    set_floors(engine, o.depth, s);
  }
  if (o.format == "json") print_json(o.title, all);
  else if (o.format == "csv") print_csv(all);
  else print_md(o.title, all);
  if (o.plot.empty()) return {};
  std::vector<Bar> bars;
  for (const TracedStep& s : all) {
    for (const OperatorTime& t : s.times.operators)
      if (const double share = percent(t.us, s.times.us); share >= 0.5) bars.push_back({t.op + ", " + s.kind.name, share, 0});
    bars.push_back({"between kernels, " + s.kind.name, percent(s.times.gaps_us, s.times.us), 0});
  }
  return write_bar_chart(o.plot, o.title + ": % of a step's time", bars);
}

}  // namespace sluice::cli
