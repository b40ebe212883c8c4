// sluice serve: a model behind an OpenAI-compatible HTTP server.
#include <fmt/core.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <boost/json.hpp>
#include <thread>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/ranks.h"
#include "server/api_error.h"
#include "server/http.h"
#include "server/routes.h"
#include "server/service.h"

namespace sluice::cli {
namespace {

struct ServeOptions {
  ModelOptions model;
  std::string host = "127.0.0.1";
  uint16_t port = 8080;
  std::vector<std::string> names, api_keys, allowed_hosts;
  Capacity capacity{.max_sequences = 32, .room_for_cache = true};
  bool no_prefix_cache = false, access_log = false;
  int64_t max_queued = 512, drain_timeout_s = 30;
  int request_threads = 2;
  std::string log_level = "info";
  HttpLimits limits;
};

// Everything that this program says goes to stderr, but for the line with the address.
void say(const ServeOptions& o, const std::string& line) {
  if (o.log_level == "info") put_error_line("sluice: " + line);
}

// One JSON object a line.
void log_access(const AccessRecord& r) {
  const boost::json::object line = {
      {"request_id", r.request_id}, {"peer", r.peer},       {"method", r.method},   {"path", r.path},
      {"status", r.status},         {"seconds", r.seconds}, {"bytes", r.bytes_out}, {"cancelled", name_of(r.cancelled)}};
  put_error_line(boost::json::serialize(line));
}

// Signals for wait_for_end(): blocked before any thread is made, so that each inherits it. What was ignored from the start stays so
// (SIGHUP under nohup): the kernel would hand it to those who wait for it all the same.
sigset_t block_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int s : {SIGTERM, SIGINT, SIGHUP}) {
    struct sigaction now {};
    sigaction(s, nullptr, &now);
    if (now.sa_handler != SIG_IGN) sigaddset(&set, s);
  }
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);  // a closed pipe behind stdout or stderr is no reason to end
  return set;
}

Result<std::unique_ptr<Service>> make_service(const ServeOptions& o) {
  if (o.no_prefix_cache && o.model.snapshots == "int8")
    return invalid("--snapshots int8: with --no-prefix-cache there are no snapshots", "leave one of the two out");
  SLUICE_ASSIGN_OR_RETURN(const std::string name, model_name(o.model));
  SLUICE_ASSIGN_OR_RETURN(auto engine, make_engine(o.model, o.capacity));
  SLUICE_ASSIGN_OR_RETURN(Texts texts, load_texts(o.model));
  for (const std::string& note : engine->notes()) say(o, "note: " + note);
  say(o, "memory: " + describe(engine->memory(), KvPool::kPageTokens));
  if (const Int8Snapshots* int8 = engine->states().int8_snapshots())
    say(o, fmt::format("of the state's memory {:.0f} MiB are for {} snapshots in int8",
                       double(int8->place_bytes()) * double(int8->places()) / (1 << 20), int8->places()));
  std::vector<int32_t> stops = stop_ids(&texts, engine->model().config());
  ServiceOptions options{
      .names = o.names, .use_cache = !o.no_prefix_cache, .version = SLUICE_VERSION, .workers = o.request_threads};
  options.queue.waiting_requests = o.max_queued;
  if (options.names.empty()) options.names = {name};
  ServiceTexts parts{std::move(texts.tokenizer), std::move(texts.chat), std::move(texts.generation), std::move(stops)};
  return Service::create(std::move(engine), std::move(parts), std::move(options));
}

Result<std::unique_ptr<HttpServer>> start_http(const ServeOptions& o, Service& service) {
  // The server that the metrics tell of comes after its routes.
  const auto started = std::make_shared<std::atomic<const HttpServer*>>(nullptr);
  Router router;
  SLUICE_RETURN_IF_ERROR(add_all_routes(
      router, service, {.device = o.model.device, .needs_key = !o.api_keys.empty(), .counters = [started]() -> const HttpCounters* {
                          const HttpServer* http = *started;
                          return http ? &http->counters() : nullptr;
                        }}));
  if (o.api_keys.empty() && o.host != "127.0.0.1" && o.host != "localhost" && o.host != "::1")
    warn("others can reach " + o.host + ", and no --api-key is set");
  HttpOptions http{.host = o.host, .port = o.port, .limits = o.limits, .api_keys = o.api_keys, .allowed_hosts = o.allowed_hosts};
  http.error_formatter = [](const HttpError& e) { return error_response(api_error(e)); };
  if (o.access_log) http.access_log = log_access;
  SLUICE_ASSIGN_OR_RETURN(auto server, HttpServer::start(std::move(http), std::move(router)));
  *started = server.get();
  return server;
}

constexpr int64_t kLastWordsSeconds = 3;  // for answers on their way when the device is lost

// A signal, or 0 when the engine has lost its device.
int wait_for_end(const sigset_t& signals, const EngineLoop& loop) {
  const timespec poll{0, 100'000'000};
  for (;;) {
    if (const int signal = sigtimedwait(&signals, nullptr, &poll); signal > 0) return signal;
    if (!loop.health().ok()) return 0;
  }
}

// A signal drains; a second one ends the program at once.
void drain_at_end(const ServeOptions& o, const sigset_t& signals, HttpServer& server, Service& service) {
  const int signal = wait_for_end(signals, service.loop());
  const int64_t seconds = signal > 0 ? o.drain_timeout_s : kLastWordsSeconds;
  server.begin_drain();
  service.draining = true;  // whoever reads so at /ready finds new requests refused
  const char* const why = signal > 0 ? strsignal(signal) : "the device is lost";
  say(o, fmt::format("{}: no new requests; those that run have {} s", why, seconds));
  std::atomic<bool> done{false};
  std::jthread drainer([&] {
    const int cut = server.drain(std::chrono::seconds(seconds));
    if (cut > 0) say(o, fmt::format("{} requests were cut", cut));
    done = true;
  });
  while (!done) {
    const timespec poll{0, 20'000'000};
    const int again = sigtimedwait(&signals, nullptr, &poll);
    if (again < 0) continue;
    say(o, fmt::format("{} again: ending now", strsignal(again)));
    std::_Exit(128 + again);
  }
}

// What int8 has changed.
void say_snapshot_errors(const ServeOptions& o, const HistogramCounts& errors) {
  const int64_t snapshots = errors.total();
  if (snapshots == 0) return;
  const auto above = std::ranges::find_if(errors.counts.rbegin(), errors.counts.rend(), [](int64_t n) { return n > 0; });
  const size_t last = size_t(errors.counts.rend() - above) - 1;
  say(o, fmt::format("{} snapshots were kept in int8; relative error of a state's worst head: {:.4f} in the mean, at most {}",
                     snapshots, errors.sum / double(snapshots),
                     last < errors.bounds.size() ? fmt::format("{}", errors.bounds[last]) : "above all bounds"));
}

// Each connection has a descriptor.
void make_room_for_connections(const HttpLimits& limits) {
  constexpr uint64_t kForFiles = 64;
  const uint64_t most = raise_descriptor_limit();
  if (most < uint64_t(limits.max_connections) + kForFiles)
    warn(fmt::format("--max-connections is {}, and this process may open {} files: raise that (ulimit -n, LimitNOFILE=)",
                     int64_t(limits.max_connections), most));
}

void put_address(const std::string& line) {
  const bool written = std::fwrite(line.data(), 1, line.size(), stdout) == line.size() && std::fflush(stdout) == 0;
  if (!written) warn("standard output cannot be written; " + line.substr(0, line.size() - 1));
  std::clearerr(stdout);
}

Status serve(const ServeOptions& o) {
  const sigset_t signals = block_signals();
  make_room_for_connections(o.limits);
  const double begin = now_seconds();
  SLUICE_ASSIGN_OR_RETURN(const auto service, make_service(o));
  SLUICE_ASSIGN_OR_RETURN(const auto server, start_http(o, *service));
  say(o, fmt::format("ready after {:.2f} s: {} requests at once, {} tokens of context", now_seconds() - begin,
                     o.capacity.max_sequences, service->max_context()));
  put_address(fmt::format("serving {} at http://{}\n", service->name(), server->address()));
  drain_at_end(o, signals, *server, *service);
  say_snapshot_errors(o, service->loop().report().snapshot_errors);
  return service->loop().health();
}

void add_network_options(CLI::App& app, ServeOptions& o) {
  app.add_option("--host", o.host, "address to listen on; 0.0.0.0 or :: for all, and then give an API key")
      ->type_name("ADDRESS")
      ->envname("SLUICE_HOST")
      ->capture_default_str();
  app.add_option("--port", o.port, "port to listen on; 0 takes a free one")->envname("SLUICE_PORT")->capture_default_str();
  app.add_option("--api-key", o.api_keys, "a key that clients must send; may be given several times; none: all may call")
      ->type_name("KEY")
      ->envname("SLUICE_API_KEY")
      ->allow_extra_args(false);
  app.add_option(
         "--allowed-host", o.allowed_hosts,
         "a name that clients may call the server by, beside localhost and its address, while --host is a loopback address; "
         "several may be given; * allows any")
      ->type_name("NAME")
      ->envname("SLUICE_ALLOWED_HOST")
      ->allow_extra_args(false);
  app.add_option("--served-model-name", o.names,
                 "what clients call the model; may be given several times; default: the folder's name")
      ->type_name("NAME")
      ->envname("SLUICE_SERVED_MODEL_NAME")
      ->allow_extra_args(false);
  app.add_option("--drain-timeout", o.drain_timeout_s, "seconds that running requests have after SIGTERM")
      ->check(CLI::Range(0, 86400))
      ->capture_default_str();
  each_limit(o.limits, [&](HttpLimit& l) {
    app.add_option("--" + std::string(l.flag), l.value, std::string(l.unit) + ": " + l.reason)
        ->check(CLI::Range(int64_t(1), l.max))
        ->group("HTTP limits")
        ->capture_default_str();
  });
}

void add_capacity_options(CLI::App& app, ServeOptions& o) {
  const auto up_to = [](int64_t least) { return CLI::Range(least, int64_t(1) << 40); };
  app.add_option("--max-running-requests", o.capacity.max_sequences, "requests that are computed at once")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 16))
      ->envname("SLUICE_MAX_RUNNING_REQUESTS")
      ->capture_default_str();
  app.add_option("--chunked-prefill-size", o.model.prefill_chunk, "the same as --prefill-chunk")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 20));
  app.add_option("--state-slots", o.capacity.state_slots, "running requests and snapshots of the prefix cache; 0: by free memory")
      ->check(up_to(0))
      ->capture_default_str();
  app.add_option("--kv-tokens", o.capacity.kv_tokens, "tokens in all requests and the prefix cache; 0: by free memory")
      ->check(up_to(0))
      ->capture_default_str();
  app.add_option("--max-queued-requests", o.max_queued, "more that wait are refused with 429")
      ->check(up_to(1))
      ->capture_default_str();
  app.add_option("--request-threads", o.request_threads, "threads that read requests and tokenize")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_flag("--no-prefix-cache", o.no_prefix_cache, "compute every prompt from its start");
  app.add_option("--lose-device-after", o.model.lose_device_after,
                 "behave as if the device were gone after so many steps: to try what stands around the server")
      ->check(up_to(1));
}

}  // namespace

void add_serve(CLI::App& app, Command& command) {
  auto o = std::make_shared<ServeOptions>();
  CLI::App* sub = app.add_subcommand("serve", "serve a model over HTTP, as OpenAI's and Anthropic's APIs")->group("Use a model");
  add_network_options(*sub, *o);
  add_capacity_options(*sub, *o);
  sub->add_option("--log-level", o->log_level, "info also tells what the server does; errors come always")
      ->check(CLI::IsMember({"info", "error"}))
      ->envname("SLUICE_LOG_LEVEL")
      ->capture_default_str();
  sub->add_flag("--access-log", o->access_log, "a line of JSON on stderr for each request");
  add_model_options(*sub, o->model);
  add_tokenizer_option(*sub, o->model);
  add_speculation_option(*sub, o->model);
  add_snapshots_option(*sub, o->model);
  add_random_weights_options(*sub, o->model);
  sub->callback([o, &command] { command = among_ranks(o->model, [o] { return exit_code(serve(*o)); }); });
}

}  // namespace sluice::cli
