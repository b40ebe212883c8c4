// sluice bench serve: load on a server that speaks OpenAI's API, and what its users would have seen.
#include <fmt/core.h>

#include <boost/json.hpp>
#include <cmath>
#include <optional>

#include "bench_client/load.h"
#include "bench_client/summary.h"
#include "cli/command.h"
#include "cli/serve_report.h"

namespace sluice::cli {
namespace {

// Those of the reports: s0 is a server's prefill under load, s1 a kernel's, s2 users who chat. Where a report leaves out the number
// of output tokens, it is that of the load generator it was made with (1024).
struct Preset {
  const char* name;
  int64_t input, output, prompts, concurrency;
  const char* server;  // the options that the report's server had
};
constexpr Preset kPresets[] = {{"s0", 8192, 1024, 512, 256, "--chunked-prefill-size 163840 --max-running-requests 256"},
                               {"s1", 4096, 256, 256, 64, ""},
                               {"s2-chat", 1000, 1000, 80, 0, ""},
                               {"s2-long", 8000, 1000, 80, 0, ""}};

struct BenchServeOptions {
  std::string preset, url = "http://127.0.0.1:8080", endpoint = "completions", prompts, extra_body = "{}", format = "md", save,
                      plot;
  std::vector<std::string> goodput;
  int64_t num_prompts = 100;
  bool no_ignore_eos = false;
  bench::WorkloadOptions workload;
  bench::LoadOptions load;
  bench::Slo slo;
  const char* server = "";
};

// "ttft:200", in milliseconds.
Status read_goodput(const std::vector<std::string>& limits, bench::Slo& slo) {
  for (const std::string& limit : limits) {
    const size_t colon = std::min(limit.find(':'), limit.size());
    const std::string name = limit.substr(0, colon), number = colon < limit.size() ? limit.substr(colon + 1) : "";
    std::optional<double>* to = name == "ttft" ? &slo.ttft : name == "tpot" ? &slo.tpot : name == "e2el" ? &slo.e2el : nullptr;
    char* end = nullptr;
    const double ms = std::strtod(number.c_str(), &end);
    if (!to || number.empty() || *end != '\0' || !(ms > 0) || std::isinf(ms))
      return invalid("'" + limit + "' is no limit like ttft:200,tpot:50,e2el:5000 (milliseconds)");
    *to = ms / 1e3;
  }
  return {};
}

void apply_preset(const CLI::App& app, BenchServeOptions& o) {
  for (const Preset& p : kPresets) {
    if (o.preset != p.name) continue;
    const auto set = [&](const char* option, int64_t& to, int64_t value) {
      if (app.count(option) == 0) to = value;
    };
    set("--random-input-len", o.workload.input_len, p.input);
    set("--random-output-len", o.workload.output_len, p.output);
    set("--num-prompts", o.num_prompts, p.prompts);
    set("--max-concurrency", o.load.max_concurrency, p.concurrency);
    o.server = p.server;
  }
}

// What the options say together; an error names the option.
std::pair<std::string, Status> complete(const CLI::App& app, BenchServeOptions& o) {
  apply_preset(app, o);
  if (const Status s = read_goodput(o.goodput, o.slo); !s.ok()) return {"--goodput", s};
  boost::system::error_code ec;
  boost::json::value extra = boost::json::parse(o.extra_body, ec);
  if (ec || !extra.is_object()) return {"--extra-body", invalid("'" + o.extra_body + "' is no JSON object")};
  o.workload.extra = std::move(extra.get_object());
  const auto url = bench::parse_url(o.url);
  if (!url.ok()) return {"--url", url.status()};
  o.load.client.url = url.value();
  if (app.count("--burstiness") > 0 && std::isinf(o.load.arrivals.rate))
    return {"--burstiness", invalid("needs a --request-rate that is not inf")};
  if (!o.prompts.empty() && o.workload.turns > 1) return {"--turns", invalid("--prompts has whole requests, not conversations")};
  if (o.workload.input_len + o.workload.prefix_len == 0)
    return {"--random-input-len", invalid("a prompt needs at least one token")};
  o.workload.chat = o.endpoint == "chat";
  o.workload.ignore_eos = !o.no_ignore_eos;
  o.workload.seed = o.load.seed;
  return {};
}

std::string describe_workload(const BenchServeOptions& o) {
  const bench::WorkloadOptions& w = o.workload;
  if (!o.prompts.empty()) return fmt::format("{} requests from {}", o.num_prompts, o.prompts);
  const char* unit = w.chat || w.turns > 1 ? "words" : "tokens";
  std::string s = o.preset.empty() ? "" : o.preset + ": ";
  if (w.turns > 1) s += fmt::format("{} conversations of {} turns, {} {} in", o.num_prompts, w.turns, w.input_len, unit);
  else s += fmt::format("{} requests, {} {} in", o.num_prompts, w.input_len, unit);
  if (w.prefix_len > 0) s += fmt::format(" after one of {} prefixes of {}", w.num_prefixes, w.prefix_len);
  s += fmt::format(", {} tokens out{}", w.output_len, w.ignore_eos ? "" : " at most");
  if (*o.server) s += fmt::format(" (meant for a server with {})", o.server);
  return s;
}

std::string describe_arrivals(const BenchServeOptions& o) {
  const bench::Arrivals& a = o.load.arrivals;
  std::string s = "all at once";
  if (!std::isinf(a.rate)) {
    s = fmt::format("{:.6g} a second", a.rate);
    if (std::isinf(a.burstiness)) s += ", evenly";
    else s += a.burstiness == 1 ? ", Poisson" : fmt::format(", burstiness {:.6g}", a.burstiness);
  }
  return o.load.max_concurrency > 0 ? s + fmt::format(", at most {} in flight", o.load.max_concurrency) : s;
}

Result<ServeRun> measure(BenchServeOptions& o) {
  if (!o.prompts.empty()) {
    SLUICE_ASSIGN_OR_RETURN(o.workload.rows, bench::read_prompts(o.prompts));
    if (o.num_prompts == 0) o.num_prompts = int64_t(o.workload.rows.size());
  }
  if (o.workload.model.empty()) {
    SLUICE_ASSIGN_OR_RETURN(o.workload.model, bench::first_model(o.load.client));
  }
  raise_descriptor_limit();  // each request in flight has a connection
  Progress progress("requests");
  o.load.sessions = o.num_prompts;
  o.load.stop_on_interrupt = true;
  o.load.show = [&](int64_t done, int64_t total) { progress.show(done, total); };
  SLUICE_ASSIGN_OR_RETURN(bench::LoadResult load, bench::run_load(o.load, bench::Workload(o.workload)));
  ServeRun run{o.load.client.url.text(), o.workload.model, describe_workload(o), describe_arrivals(o),
               o.load.max_concurrency,   o.load.seed,      std::move(load),      {}};
  run.summary = bench::summarise(run.load.records, run.load.seconds, run.load.unfinished, o.slo);
  if (std::isinf(o.load.arrivals.rate)) run.summary.delay = {};  // all were due at once
  return run;
}

int bench_serve(BenchServeOptions& o) {
  const auto run = measure(o);
  if (!run.ok()) return fail(run.status());
  fmt::print("{}", report(*run, o.format));
  if (!o.save.empty()) {
    if (const Status s = save_requests(*run, o.save); !s.ok()) return fail(s);
  }
  if (!o.plot.empty()) {
    if (const Status s = plot(*run, o.plot); !s.ok()) return fail(s);
  }
  constexpr int kInterrupted = 130;  // as a shell counts it
  if (run->load.interrupted) return kInterrupted;
  if (run->summary.completed > 0) return 0;
  const auto& [kind, error] = *run->summary.errors.begin();
  return fail({Code::kIo, "no request succeeded: " + kind + ": " + error.example});
}

void add_workload_options(CLI::App& app, BenchServeOptions& o) {
  bench::WorkloadOptions& w = o.workload;
  const auto whole = [&](const char* name, int64_t& to, const char* text, int64_t least, int64_t most) {
    app.add_option(name, to, text)->check(CLI::Range(least, most))->capture_default_str();
  };
  constexpr int64_t kMany = int64_t(1) << 30;
  whole("--random-input-len", w.input_len, "tokens of a prompt; words where text is sent", 0, kMany);
  whole("--random-output-len", w.output_len, "tokens of an answer", 1, kMany);
  whole("--prefix-len", w.prefix_len, "tokens before the input that requests share (in a chat: words of the system message)", 0,
        kMany);
  whole("--num-prefixes", w.num_prefixes, "different prefixes, dealt out in turn", 1, kMany);
  whole("--turns", w.turns, "over 1: conversations; each turn repeats what was said and adds a message of --random-input-len words",
        1, 10000);
  whole("--vocab-size", w.vocab_size, "random token ids are below this; the default exists in every tokenizer", 1, kMany);
  app.add_flag("--no-ignore-eos", o.no_ignore_eos, "answers may end before --random-output-len");
  app.add_option("--endpoint", o.endpoint, "completions (token ids) or chat (random words); --turns over 1 always chats")
      ->check(CLI::IsMember({"completions", "chat"}))
      ->capture_default_str();
  app.add_option("--prompts", o.prompts,
                 "requests from a JSONL file instead: strings, lists of ids, or objects with prompt or messages")
      ->type_name(kFile);
  app.add_option("--extra-body", o.extra_body, "JSON object of fields that every request gets")->type_name("JSON");
  app.add_option("--seed", o.load.seed, "equal seeds give equal requests at equal times")->capture_default_str();
}

void add_load_options(CLI::App& app, BenchServeOptions& o) {
  bench::LoadOptions& l = o.load;
  app.add_option("--num-prompts", o.num_prompts, "requests, or conversations; with --prompts: all rows if left out")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 30))
      ->capture_default_str();
  app.add_option("--request-rate", l.arrivals.rate, "arrivals a second; inf: all at once")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--burstiness", l.arrivals.burstiness,
                 "1: Poisson; below 1: in bursts; above 1: more even; inf: at fixed intervals")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--max-concurrency", l.max_concurrency, "requests (conversations) in flight; 0: no limit")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  app.add_option("--warmup", l.warmup, "requests before those that count")->check(CLI::Range(0, 1000000))->capture_default_str();
  app.add_option("--timeout", l.client.timeout_s, "seconds without a byte after which a request has failed")
      ->check(CLI::Range(0.001, 1e6))
      ->capture_default_str();
  app.add_option("--client-threads", l.threads, "threads that read answers")->check(CLI::Range(1, 256))->capture_default_str();
}

}  // namespace

void add_bench_serve(CLI::App& bench, Command& command) {
  auto o = std::make_shared<BenchServeOptions>();
  CLI::App* app =
      bench.add_subcommand("serve", "measure a server that speaks OpenAI's API, ours or another, by its URL")->group("Commands");
  std::vector<std::string> presets;
  for (const Preset& p : kPresets) presets.push_back(p.name);
  app->add_option("PRESET", o->preset, "a shape by name; options change it")->check(CLI::IsMember(presets));
  app->add_option("--url", o->url, "the server: http://HOST:PORT[/PATH]")
      ->type_name("URL")
      ->envname("SLUICE_URL")
      ->capture_default_str();
  app->add_option("--model", o->workload.model, "the model to ask for; the first that the server lists, if left out")
      ->type_name("NAME");
  app->add_option("--api-key", o->load.client.api_key, "sent as a bearer token")->type_name("KEY")->envname("SLUICE_API_KEY");
  add_workload_options(*app, *o);
  add_load_options(*app, *o);
  app->add_option("--goodput", o->goodput, "limits in ms, as ttft:200,tpot:50,e2el:5000: requests within all of them are good")
      ->delimiter(',');
  app->add_option("-o,--output", o->format, "form of the figures")
      ->check(CLI::IsMember({"md", "json", "csv"}))
      ->capture_default_str();
  app->add_option("--save", o->save, "also write a JSON file with every request")->type_name(kFile);
  app->add_option("--plot", o->plot, "also draw latencies, throughput and requests in flight as an SVG file")->type_name(kFile);
  app->callback([o, app, &command] {
    const auto [option, status] = complete(*app, *o);
    if (!status.ok()) throw CLI::ValidationError(option, status.to_string());
    if (!o->prompts.empty() && app->count("--num-prompts") == 0) o->num_prompts = 0;
    command = [o] { return bench_serve(*o); };
  });
}

}  // namespace sluice::cli
