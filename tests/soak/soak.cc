// A server under many clients at once, a third of whom leave early or ask for nonsense. Afterwards nothing may be left of them: no
// wrong answer, no slot or page, no descriptor, no thread, no memory.
//
// The requests come in rounds. Between two rounds the server rests, and its pools and its memory are read.
#include <fmt/core.h>
#include <sys/prctl.h>

#include <CLI/CLI.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json.hpp>
#include <map>
#include <thread>

#include "base/clock.h"
#include "bench_client/answer_reader.h"
#include "bench_client/summary.h"
#include "tests/soak/mix.h"
#include "tests/soak/server_process.h"

namespace sluice::soak {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using bench::HttpClient;

constexpr double kMiB = 1 << 20;

struct Options {
  std::string program, source = SLUICE_SOURCE_DIR;
  int64_t requests = 20000, clients = 64, rounds = 20;
  uint64_t seed = 1;
  double within_s = 0;                   // 0: however long it takes
  double max_slope = 1;                  // 0: not judged
  double patience_s = 60;                // without a byte
  std::vector<std::string> server = {};  // arguments of serve
};

// What is wrong, by kind.
class Faults {
 public:
  void add(const std::string& kind, const std::string& example) {
    auto& [count, first] = kinds_[kind];
    if (count++ == 0) first = example;
  }
  bool any() const { return !kinds_.empty(); }
  void print() const {
    for (const auto& [kind, fault] : kinds_) fmt::print("FAULT {} x {}: {}\n", fault.first, kind, fault.second);
  }

 private:
  std::map<std::string, std::pair<int64_t, std::string>> kinds_;
};

struct Counts {
  int64_t ended = 0, plain = 0, tools = 0, bad = 0, aborted = 0, too_late = 0;
  int64_t by_engine = 0;  // bad ones that the engine itself refuses
  int64_t compared = 0;   // answers that had come before
};

std::string start_of(const std::string& s) { return s.substr(0, 200); }

int64_t number_at(const json::value& v, const char* pointer) {
  boost::system::error_code ec;
  const json::value* found = v.find_pointer(pointer, ec);
  const int64_t n = found ? found->to_number<int64_t>(ec) : -1;
  return ec ? -1 : n;
}

class Soak {
 public:
  Soak(const Options& o, ServerProcess& server) : o_(o), server_(server) {}

  // The faults have been printed.
  bool run();

 private:
  void round(int64_t end);
  asio::awaitable<void> client(HttpClient& http, HttpClient& stranger);
  void judge(const Shot& s, const HttpClient::Page& page);
  // Of a whole answer: its text and number of tokens; empty where it is no answer.
  std::string read_stream(const Shot& s, const std::string& body);
  std::string read_object(const Shot& s, const std::string& body);

  json::value status();
  void wait_until_idle();
  void sample();
  void judge_memory();
  // Descriptors and threads go a moment after the connections.
  void expect_back(const char* what, int64_t base, int64_t (ServerProcess::*now)() const);

  const Options& o_;
  ServerProcess& server_;
  bench::ClientOptions client_{.url = server_.url(), .api_key = kKey, .timeout_s = o_.patience_s};
  bench::ClientOptions wrong_key_{.url = server_.url(), .api_key = "other", .timeout_s = o_.patience_s};
  HttpClient::Endpoints endpoints_ = bench::resolve(client_.url).value();
  int64_t next_ = 0, end_ = 0;
  Counts counts_;
  Faults faults_;
  std::map<std::string, std::string> answers_;          // of requests that come again
  std::vector<std::pair<int64_t, int64_t>> own_bytes_;  // (requests so far, bytes)

 public:
  static constexpr const char* kKey = "soak";
};

// ---- one request ----

asio::awaitable<void> Soak::client(HttpClient& http, HttpClient& stranger) {
  while (next_ < end_) {
    Shot s = shot(o_.seed, next_++);
    HttpClient::Page page;
    HttpClient::Call call = std::move(s.call);
    co_await (s.wrong_key ? stranger : http).call(std::move(call), page);
    judge(s, page);
  }
}

void Soak::judge(const Shot& s, const HttpClient::Page& page) {
  ++counts_.ended;
  ++(s.kind == Kind::kPlain   ? counts_.plain
     : s.kind == Kind::kTools ? counts_.tools
     : s.kind == Kind::kBad   ? counts_.bad
                              : counts_.aborted);
  counts_.by_engine += s.by_engine;
  if (s.kind == Kind::kAborted && page.left) return;
  if (s.kind == Kind::kAborted) ++counts_.too_late;
  if (page.status == 0) return faults_.add(s.name, page.error);
  if (page.status != s.status)
    return faults_.add(s.name, fmt::format("HTTP {} instead of {}: {}", page.status, s.status, start_of(page.body)));
  if (s.status != 200) {
    boost::system::error_code ec;
    const json::value v = json::parse(page.body, ec);
    if (ec || !v.is_object() || !v.get_object().contains("error")) faults_.add(s.name, "no error object: " + start_of(page.body));
    return;
  }
  const std::string answer = s.stream ? read_stream(s, page.body) : read_object(s, page.body);
  if (s.same.empty() || answer.empty()) return;
  const auto [before, is_new] = answers_.try_emplace(s.same, answer);
  counts_.compared += !is_new;
  if (before->second != answer)
    faults_.add("another answer to the same request", before->second + " <> " + answer + ": " + start_of(s.same));
}

std::string Soak::read_stream(const Shot& s, const std::string& body) {
  bench::RequestRecord record;
  bench::AnswerReader reader(s.chat, record);
  reader.feed(body, 0);
  reader.finish(0);
  // No output: the only token was the one that ends an answer.
  if (!record.ok() && record.error != bench::kNoOutput) {
    faults_.add(s.name, record.error + " " + record.detail);
    return {};
  }
  if (record.output_tokens < 1 || record.output_tokens > s.choices * s.max_tokens)
    faults_.add(s.name, fmt::format("{} tokens of at most {}", record.output_tokens, s.choices * s.max_tokens));
  // The reader follows one of several choices.
  return s.choices > 1 ? "" : fmt::format("{} {}", record.output_tokens, reader.text());
}

std::string Soak::read_object(const Shot& s, const std::string& body) {
  boost::system::error_code ec;
  const json::value v = json::parse(body, ec);
  const json::value* found = ec ? nullptr : v.find_pointer("/choices", ec);
  const json::array* choices = found ? found->if_array() : nullptr;
  const int64_t tokens = choices ? number_at(v, "/usage/completion_tokens") : -1;
  if (!choices || int64_t(choices->size()) != s.choices || tokens < 1 || tokens > s.choices * s.max_tokens) {
    faults_.add(s.name, "no answer: " + start_of(body));
    return {};
  }
  for (const json::value& c : *choices) {
    const json::value* reason = c.find_pointer("/finish_reason", ec);
    if (!reason || !reason->is_string()) faults_.add(s.name, "no finish_reason: " + start_of(body));
  }
  const json::value* text = choices->front().find_pointer(s.chat ? "/message/content" : "/text", ec);
  const std::string said = text && text->is_string() ? std::string(text->get_string()) : "";
  return s.choices > 1 ? "" : fmt::format("{} {}", tokens, said);
}

// ---- rounds ----

void Soak::round(int64_t end) {
  end_ = end;
  asio::io_context io{1};
  HttpClient http(io, client_, endpoints_), stranger(io, wrong_key_, endpoints_);
  for (int64_t i = 0; i < o_.clients; ++i) asio::co_spawn(io, client(http, stranger), asio::detached);
  io.run();
}

json::value Soak::status() {
  asio::io_context io{1};
  HttpClient http(io, client_, endpoints_);
  HttpClient::Page page;
  asio::co_spawn(io, http.call({.path = "/status.json"}, page), asio::detached);
  io.run();
  boost::system::error_code ec;
  json::value v = json::parse(page.body, ec);
  return page.status == 200 && !ec ? v : json::value();
}

void Soak::wait_until_idle() {
  static constexpr const char* kLive[] = {"/requests/running", "/requests/waiting", "/state_slots/live", "/kv_pages/live"};
  json::value v;
  for (const double end = now_seconds() + 5; now_seconds() < end;) {
    v = status();
    if (std::ranges::all_of(kLive, [&](const char* what) { return number_at(v, what) == 0; })) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  for (const char* what : kLive)
    if (number_at(v, what) != 0) faults_.add(what, fmt::format("is {} after five seconds without a request", number_at(v, what)));
}

void Soak::sample() {
  wait_until_idle();
  own_bytes_.emplace_back(counts_.ended, server_.own_bytes());
}

void Soak::expect_back(const char* what, int64_t base, int64_t (ServerProcess::*now)() const) {
  const double end = now_seconds() + 5;
  while ((server_.*now)() != base && now_seconds() < end) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const int64_t left = (server_.*now)();
  fmt::print("{}: {} before, {} after\n", what, base, left);
  if (left != base) faults_.add(what, fmt::format("{} before, {} after", base, left));
}

// The median of the slopes between all pairs of samples behind the warm-up, in which pools and caches fill: a leak is in all of
// them, a buffer that grows once more in few.
void Soak::judge_memory() {
  const size_t first = own_bytes_.size() * 2 / 5;
  std::vector<double> slopes;
  for (size_t i = first; i < own_bytes_.size(); ++i)
    for (size_t j = i + 1; j < own_bytes_.size(); ++j)
      slopes.push_back(double(own_bytes_[j].second - own_bytes_[i].second) / kMiB * 1e5 /
                       double(own_bytes_[j].first - own_bytes_[i].first));
  if (slopes.size() < 10) return;
  std::ranges::sort(slopes);
  const double slope = bench::percentile(slopes, 0.5);
  fmt::print(
      "memory: {:.2f} MiB after {} requests, {:.2f} after {}; slope {:.2f} MiB per 100k requests (quartiles {:.2f} and {:.2f})\n",
      double(own_bytes_[first].second) / kMiB, own_bytes_[first].first, double(own_bytes_.back().second) / kMiB,
      own_bytes_.back().first, slope, bench::percentile(slopes, 0.25), bench::percentile(slopes, 0.75));
  if (o_.max_slope > 0 && bench::percentile(slopes, 0.25) > o_.max_slope)
    faults_.add("memory", fmt::format("grows by {:.2f} MiB per 100k requests", slope));
}

bool Soak::run() {
  wait_until_idle();
  std::this_thread::sleep_for(std::chrono::seconds(1));  // the connection of that question goes
  const int64_t descriptors = server_.descriptors(), threads = server_.threads();
  const double begin = now_seconds(), cpu = server_.cpu_seconds();
  for (int64_t r = 1; r <= o_.rounds; ++r) {
    round(o_.requests * r / o_.rounds);
    sample();
    const Counts& c = counts_;
    const double seconds = now_seconds() - begin;
    fmt::print(
        "{:6.1f} s  {} requests, {:.0f} a second: {} aborted ({} too late), {} bad, {} with tools, {} compared; {:.2f} MiB\n",
        seconds, c.ended, double(c.ended) / seconds, c.aborted, c.too_late, c.bad, c.tools, c.compared,
        double(own_bytes_.back().second) / kMiB);
    std::fflush(stdout);
  }
  const double seconds = now_seconds() - begin, cpu_seconds = server_.cpu_seconds() - cpu;
  if (o_.within_s > 0 && seconds > o_.within_s)
    faults_.add("time", fmt::format("{:.0f} s instead of {:.0f}", seconds, o_.within_s));
  const json::value last = status();
  for (const auto& [what, wanted] : {std::pair{"/requests/failed", counts_.by_engine}, {"/engine/failed_steps", int64_t{0}}})
    if (number_at(last, what) != wanted) faults_.add(what, fmt::format("is {}, wanted {}", number_at(last, what), wanted));
  fmt::print(
      "{} steps, {} prompt tokens computed and {} from the cache, {} tokens generated, {} preemptions, {} snapshots given up\n",
      number_at(last, "/engine/steps"), number_at(last, "/tokens/prompt_computed"), number_at(last, "/tokens/prompt_cached"),
      number_at(last, "/tokens/generated"), number_at(last, "/requests/preemptions"), number_at(last, "/prefix_cache/evictions"));
  expect_back("descriptors", descriptors, &ServerProcess::descriptors);
  expect_back("threads", threads, &ServerProcess::threads);
  judge_memory();
  if (const int code = server_.stop(30); code != 0) faults_.add("the server's end", fmt::format("exit code {}", code));
  fmt::print("{} requests of {} clients in {:.1f} s, {:.0f} a second; the server had {:.2f} of a core\n", counts_.ended, o_.clients,
             seconds, double(counts_.ended) / seconds, cpu_seconds / seconds);
  faults_.print();
  return !faults_.any();
}

int soak(const Options& o) {
  prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);  // the server inherits it: its memory is counted in small pages
  const ModelFolder model(o.source);
  // Pools that fill within the first rounds, so that caches give way and requests are preempted.
  std::vector<std::string> arguments{"serve",         model.path(),
                                     "--port",        "0",
                                     "--api-key",     Soak::kKey,
                                     "--log-level",   "error",
                                     "--max-context", std::to_string(kContext),
                                     "--state-slots", "64",
                                     "--kv-tokens",   "5120"};
  arguments.insert(arguments.end(), o.server.begin(), o.server.end());
  auto server = ServerProcess::start(o.program, std::move(arguments));
  if (!server.ok()) {
    fmt::print(stderr, "soak: {}\n", server.status().to_string());
    return 1;
  }
  return Soak(o, *server).run() ? 0 : 1;
}

}  // namespace
}  // namespace sluice::soak

int main(int argc, char** argv) {
  sluice::soak::Options o;
  CLI::App app("load of many kinds on a server of the demo model, and what is left of it");
  app.add_option("--program", o.program, "the path of sluice")->required();
  app.add_option("--requests", o.requests)->check(CLI::Range(int64_t(1), int64_t(1) << 40))->capture_default_str();
  app.add_option("--clients", o.clients)->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--rounds", o.rounds, "the server rests between them, and its memory is read")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app.add_option("--seed", o.seed)->capture_default_str();
  app.add_option("--within", o.within_s, "seconds; 0: however long it takes")->take_last()->capture_default_str();
  app.add_option("--max-slope", o.max_slope, "MiB per 100,000 requests; 0: memory is not judged")->capture_default_str();
  app.add_option("--patience", o.patience_s, "seconds without a byte")->capture_default_str();
  app.add_option("server", o.server, "further arguments of `sluice serve`, behind --");
  CLI11_PARSE(app, argc, argv);
  return sluice::soak::soak(o);
}
