// sluice bench: prefill and decode speed of a model, or the operators' benches; `bench serve` is in bench_serve.cc.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "base/clock.h"
#include "cli/bench_sequences.h"
#include "cli/bench_trace.h"
#include "cli/command.h"
#include "cli/plot.h"
#include "cli/ranks.h"

namespace sluice::cli {
namespace {

struct OpBenchOptions {
  std::vector<std::string> names;
  std::vector<std::string> labels;
  std::string device = "cpu", impl, peers, save;
  bool tune = false;
  BackendFlags backend;
};

struct BenchOptions {
  ModelOptions model;
  OpBenchOptions ops;
  std::string format = "md", plot;
  bool trace = false;
  int64_t prompt = 512, gen = 128, depth = 0, batch = 1, repeats = 5;
};

// Tokens per second of every repeat.
struct Series {
  std::string test;
  std::vector<double> rates;
  double mean() const { return std::accumulate(rates.begin(), rates.end(), 0.0) / double(rates.size()); }
  double deviation() const {
    double d = 0;
    for (const double r : rates) d += (r - mean()) * (r - mean());
    return rates.size() > 1 ? std::sqrt(d / double(rates.size() - 1)) : 0;
  }
  double median() const {
    std::vector<double> v = rates;
    std::ranges::sort(v);
    return (v[(v.size() - 1) / 2] + v[v.size() / 2]) / 2;
  }
};

// Seconds to read `prompt` tokens of each of `batch` sequences that hold `depth` tokens already.
Result<double> time_prefill(Engine& engine, const BenchOptions& o, int64_t prompt) {
  SLUICE_ASSIGN_OR_RETURN(auto sequences, open_at_depth(engine, o.batch, o.depth));
  const double begin = now_seconds();
  for (auto& s : sequences) {
    for (const int32_t id : some_ids(prompt, engine.model().config().vocab_size, 99)) SLUICE_RETURN_IF_ERROR(engine.append(*s, id));
    const auto logits = engine.prefill(*s);
    if (!logits.ok()) return logits.status();
  }
  SLUICE_RETURN_IF_ERROR(engine.wait());
  const double seconds = now_seconds() - begin;
  close_all(engine, sequences);
  return seconds;
}

// Seconds for `gen` steps that add one token to each of `batch` sequences, sampling included.
Result<double> time_decode(Engine& engine, const BenchOptions& o, int64_t gen) {
  SLUICE_ASSIGN_OR_RETURN(auto sequences, open_at_depth(engine, o.batch, o.depth));
  for (auto& s : sequences) SLUICE_RETURN_IF_ERROR(engine.append(*s, 1));
  const SamplingParams greedy;
  std::vector<SampledToken> tokens;
  const double begin = now_seconds();
  for (int64_t i = 0; i < gen; ++i) {
    std::vector<Work> work;
    for (auto& s : sequences) work.push_back({s.get(), 1, WantLogits::kLast});
    SLUICE_ASSIGN_OR_RETURN(const StepOutput step, engine.step(work));
    std::vector<Draw> draws;
    for (size_t b = 0; b < sequences.size(); ++b) draws.push_back({int64_t(b), sequences[b]->computed, &greedy});
    SLUICE_RETURN_IF_ERROR(engine.draw(step.logits, draws, tokens));
    for (size_t b = 0; b < sequences.size(); ++b) SLUICE_RETURN_IF_ERROR(engine.append(*sequences[b], tokens[b].id));
  }
  const double seconds = now_seconds() - begin;
  close_all(engine, sequences);
  return seconds;
}

std::string at_depth(std::string name, int64_t depth) { return depth > 0 ? name + " @ " + std::to_string(depth) : name; }

Result<std::vector<Series>> measure(const BenchOptions& o, Engine& engine) {
  // One warm-up of each touches weights and all of the workspace.
  for (auto timed : {time_prefill(engine, o, std::min<int64_t>(o.prompt, 2048)), time_decode(engine, o, 1)})
    if (!timed.ok()) return timed.status();
  Series prefill{at_depth("prefill " + std::to_string(o.prompt), o.depth), {}},
      decode{at_depth("decode " + std::to_string(o.gen), o.depth), {}};
  Progress progress("measuring");
  for (int64_t r = 0; r < o.repeats; ++r) {
    if (o.prompt > 0) {
      SLUICE_ASSIGN_OR_RETURN(const double s, time_prefill(engine, o, o.prompt));
      prefill.rates.push_back(double(o.prompt * o.batch) / s);
    }
    if (o.gen > 0) {
      SLUICE_ASSIGN_OR_RETURN(const double s, time_decode(engine, o, o.gen));
      decode.rates.push_back(double(o.gen * o.batch) / s);
    }
    progress.show(r + 1, o.repeats);
  }
  std::vector<Series> all;
  for (Series* s : {&prefill, &decode})
    if (!s->rates.empty()) all.push_back(std::move(*s));
  return all;
}

struct Facts {
  std::string model, dtype;
  double weights_mb;
  int64_t threads, batch;
};

void print_md(const Facts& f, const std::vector<Series>& all) {
  fmt::print(
      "| model | MB | dtype | threads | batch | test | tokens/s | median |\n| --- | ---: | --- | ---: | ---: | --- | ---: | ---: "
      "|\n");
  for (const Series& s : all)
    fmt::print("| {} | {:.1f} | {} | {} | {} | {} | {:.2f} +- {:.2f} | {:.2f} |\n", f.model, f.weights_mb, f.dtype, f.threads,
               f.batch, s.test, s.mean(), s.deviation(), s.median());
}

void print_csv(const Facts& f, const std::vector<Series>& all) {
  fmt::print("model,weights_mb,dtype,threads,batch,test,mean,deviation,median\n");
  for (const Series& s : all)
    fmt::print("{},{:.1f},{},{},{},{},{:.3f},{:.3f},{:.3f}\n", f.model, f.weights_mb, f.dtype, f.threads, f.batch, s.test, s.mean(),
               s.deviation(), s.median());
}

void print_json(const Facts& f, const std::vector<Series>& all) {
  boost::json::array tests;
  for (const Series& s : all)
    tests.push_back({{"test", s.test},
                     {"mean", s.mean()},
                     {"deviation", s.deviation()},
                     {"median", s.median()},
                     {"tokens_per_s", boost::json::array(s.rates.begin(), s.rates.end())}});
  fmt::print("{}\n", boost::json::serialize(boost::json::object{{"model", f.model},
                                                                {"weights_mb", f.weights_mb},
                                                                {"dtype", f.dtype},
                                                                {"threads", f.threads},
                                                                {"batch", f.batch},
                                                                {"tests", tests}}));
}

Status bench_model(const BenchOptions& o) {
  SLUICE_ASSIGN_OR_RETURN(const auto engine, make_engine(o.model, {.max_sequences = o.batch}));
  put_notes(*engine);
  const FallbackWarnings warnings(*engine);
  SLUICE_ASSIGN_OR_RETURN(const std::string name, model_name(o.model));
  if (o.trace)
    return trace_steps(*engine,
                       {.title = name, .format = o.format, .plot = o.plot, .prompt = o.prompt, .depth = o.depth, .batch = o.batch});
  SLUICE_ASSIGN_OR_RETURN(const std::vector<Series> all, measure(o, *engine));
  const Facts facts{name, engine->model().activation_dtype() == DType::kBF16 ? "bf16" : "fp32",
                    double(engine->model().weight_bytes()) / 1e6, engine->threads(), o.batch};
  if (o.format == "json") print_json(facts, all);
  else if (o.format == "csv") print_csv(facts, all);
  else print_md(facts, all);
  if (o.plot.empty()) return {};
  std::vector<Bar> bars;
  for (const Series& s : all) bars.push_back({s.test, s.mean(), s.deviation()});
  return write_bar_chart(
      o.plot, facts.model + ", " + facts.dtype + ", " + std::to_string(facts.threads) + " threads: tokens per second", bars);
}

// The operators' benches are a program of their own beside this one, where it is installed under libexec/; it takes over this
// process.
Status bench_ops(const OpBenchOptions& o, const std::string& format, const std::string& plot) {
  namespace fs = std::filesystem;
  std::error_code ec;
  const fs::path folder = fs::read_symlink("/proc/self/exe", ec).parent_path(), beside = folder / "op_bench";
  const fs::path program = fs::exists(beside, ec) ? beside : folder.parent_path() / "libexec/sluice/op_bench";
  std::vector<std::string> words{"op_bench"};
  words.insert(words.end(), o.names.begin(), o.names.end());
  for (const auto& [flag, value] : {std::pair<const char*, const std::string&>{"--device", o.device},
                                    {"--output", format},
                                    {"--plot", plot},
                                    {"--impl", o.impl},
                                    {"--peers", o.peers},
                                    {"--save", o.save},
                                    {"--linear-attn-backend", o.backend.both},
                                    {"--linear-attn-prefill-backend", o.backend.prefill},
                                    {"--linear-attn-decode-backend", o.backend.decode}})
    if (!value.empty()) words.insert(words.end(), {flag, value});
  for (const std::string& label : o.labels) words.insert(words.end(), {"--case", label});
  if (o.tune) words.push_back("--tune");
  std::vector<char*> args;
  for (std::string& w : words) args.push_back(w.data());
  args.push_back(nullptr);
  execv(program.c_str(), args.data());
  return {Code::kNotFound, program.string() + " cannot be started", "build the target op_bench"};
}

void add_op_bench_options(CLI::App& ops, OpBenchOptions& o) {
  ops.add_option("NAME", o.names, "operators; all if left out")->type_name(kOperator);
  ops.add_option("--device", o.device, "where to run: cpu or cuda:N")
      ->type_name(kDevice)
      ->envname("SLUICE_DEVICE")
      ->capture_default_str();
  ops.add_option("--case", o.labels, "on a GPU: only cases whose label contains this; may be given several times")
      ->type_name("LABEL")
      ->allow_extra_args(false);
  ops.add_option("--impl", o.impl, "only this implementation")->type_name("NAME");
  ops.add_option("--peers", o.peers,
                 "on a GPU: times of other kernels, from tools/bench_peers.py; by default those in docs/performance")
      ->type_name(kFile);
  ops.add_option("--save", o.save, "on a GPU: also write the table and the figures into this folder, named by device and date")
      ->type_name(kDir);
  ops.add_flag("--tune", o.tune, "on a GPU: time the tiles of the forms that have several, and say which setting is fastest");
  add_backend_options(ops, o.backend);
}

}  // namespace

void add_bench(CLI::App& app, Command& command) {
  auto o = std::make_shared<BenchOptions>();
  CLI::App* sub = app.add_subcommand("bench", "measure prefill and decode; below it operators and servers")->group("Measure");
  sub->add_option("--prompt", o->prompt, "tokens of the prefill test; 0 leaves it out")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  sub->add_option("--gen", o->gen, "tokens of the decode test; 0 leaves it out")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  sub->add_option("--depth", o->depth, "tokens in the context before either test")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  sub->add_option("--batch", o->batch, "sequences side by side")->check(CLI::Range(1, 4096))->capture_default_str();
  sub->add_option("-r,--repeats", o->repeats, "repeats")->check(CLI::Range(1, 10000))->capture_default_str();
  sub->add_flag("--trace", o->trace, "on a GPU: what a step of each test consists of instead, operator by operator; needs CUPTI");
  CLI::App* ops =
      sub->add_subcommand("ops", "measure operators, each in every implementation that the device runs")->group("Commands");
  add_op_bench_options(*ops, o->ops);
  for (CLI::App* a : {sub, ops}) {
    a->add_option("-o,--output", o->format, "form of the figures")
        ->check(CLI::IsMember({"md", "json", "csv"}))
        ->capture_default_str();
    a->add_option("--plot", o->plot, "also draw the figures as an SVG file")->type_name(kFile);
  }
  ops->callback([o, &command] { command = [o] { return fail(bench_ops(o->ops, o->format, o->plot)); }; });
  add_model_options(*sub, o->model);
  add_random_weights_options(*sub, o->model);
  add_bench_serve(*sub, command);
  sub->callback([o, sub, &command] {
    if (!sub->get_subcommands().empty()) return;
    command = among_ranks(o->model, [o] { return exit_code(bench_model(*o)); });
  });
}

}  // namespace sluice::cli
