#include "server/web.h"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <memory>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "engine/kv_pool.h"
#include "server/embedded.h"

namespace sluice {
namespace {

namespace json = boost::json;

// Everything that the page needs comes from this server; nothing may run that is not one of its files, and no other page may frame
// it.
constexpr const char* kContentSecurityPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action "
    "'none'; "
    "frame-ancestors 'none'";

const char* content_type(std::string_view name) {
  constexpr std::pair<std::string_view, const char*> kTypes[] = {{".html", "text/html; charset=utf-8"},
                                                                 {".css", "text/css; charset=utf-8"},
                                                                 {".js", "text/javascript; charset=utf-8"},
                                                                 {".svg", "image/svg+xml"}};
  for (const auto& [ending, type] : kTypes)
    if (name.ends_with(ending)) return type;
  return "application/octet-stream";
}

// Whether an If-None-Match names this tag. GET compares weakly: a proxy that compresses makes tags weak.
bool matches(std::string_view header, std::string_view etag) {
  while (!header.empty()) {
    std::string_view one = header.substr(0, header.find(','));
    header.remove_prefix(std::min(header.size(), one.size() + 1));
    while (!one.empty() && (one.front() == ' ' || one.front() == '\t')) one.remove_prefix(1);
    while (!one.empty() && (one.back() == ' ' || one.back() == '\t')) one.remove_suffix(1);
    if (one.starts_with("W/")) one.remove_prefix(2);
    if (one == etag || one == "*") return true;
  }
  return false;
}

void send_file(const EmbeddedFile& file, const HttpRequest& request, const Responder& responder) {
  // The names do not change with a new build, so browsers ask each time and mostly get 304.
  Headers headers = {{"ETag", std::string(file.etag)},
                     {"Cache-Control", "no-cache"},
                     {"Content-Security-Policy", kContentSecurityPolicy},
                     {"X-Content-Type-Options", "nosniff"},
                     {"Referrer-Policy", "no-referrer"}};
  if (matches(request.header("If-None-Match"), file.etag)) return responder.respond(304, std::move(headers), {});
  headers.push_back({"Content-Type", content_type(file.name)});
  responder.respond(200, std::move(headers), std::string(file.body));
}

}  // namespace

std::string status_json(const EngineLoop::Report& r, const StatusFacts& facts, double time_s, bool draining) {
  const Scheduler::Stats& s = r.scheduler;
  json::object parts;
  for (size_t i = 0; i < s.seconds.size(); ++i) parts[std::string(kStepPartNames[i]) + "_s"] = s.seconds[i];
  const json::object all = {
      {"model", facts.model},
      {"version", facts.version},
      {"device", facts.device},
      {"max_context", facts.max_context},
      {"time_s", time_s},
      {"draining", draining},
      {"requests",
       {{"running", s.running},
        {"waiting", s.waiting},
        {"waiting_tokens", s.waiting_tokens},
        {"finished", s.finished},
        {"cancelled", s.cancelled},
        {"failed", s.failed},
        {"preemptions", s.preemptions}}},
      {"tokens",
       {{"prompt_computed", s.prompt_tokens},
        {"prompt_cached", s.cached_tokens},
        {"generated", s.generated_tokens},
        {"drafted", s.drafted},
        {"accepted", s.accepted}}},
      {"engine",
       {{"steps", s.steps},
        {"failed_steps", r.failed_steps},
        {"busy_s", r.busy_s},
        {"last_step_s", r.last_step_s},
        {"parts", parts}}},
      {"state_slots",
       {{"total", r.state_slots},
        {"live", r.state_slots - r.state_free - r.snapshots},
        {"snapshots", r.snapshots},
        {"free", r.state_free}}},
      {"kv_pages",
       {{"total", r.kv_pages},
        {"live", r.kv_pages - r.kv_free - r.kv_cached},
        {"cached", r.kv_cached},
        {"free", r.kv_free},
        {"page_tokens", int64_t{KvPool::kPageTokens}}}},
      {"prefix_cache",
       {{"queries", r.cache.queries},
        {"hits", r.cache.hits},
        {"query_tokens", r.cache.query_tokens},
        {"hit_tokens", r.cache.hit_tokens},
        {"evictions", r.cache.evictions}}},
  };
  return json::serialize(all);
}

void add_web_routes(Router& router, WebOptions options) {
  // A page that is open while the server drains may still be read again.
  const RouteOptions page{.needs_key = false, .while_draining = true};
  for (const EmbeddedFile& file : web_files()) {
    const Handler handler = [&file](const HttpRequest& request, const Responder& responder) {
      send_file(file, request, responder);
    };
    if (file.name == "index.html") router.add("GET", "/", handler, page);
    router.add("GET", "/web/" + std::string(file.name), handler, page);
  }
  router.add("GET", "/status.json",
             [options = std::make_shared<WebOptions>(std::move(options)), start = now_seconds()](const HttpRequest&,
                                                                                                 const Responder& responder) {
               const bool draining = options->draining && options->draining();
               responder.respond(200, {{"Content-Type", "application/json"}, {"Cache-Control", "no-store"}},
                                 status_json(options->report(), options->facts, now_seconds() - start, draining) + "\n");
             },
             {.needs_key = true, .while_draining = true});
}

}  // namespace sluice
