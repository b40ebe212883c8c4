// The page at /: a chat and a view of the engine's state, and the JSON that the latter reads.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "engine/loop.h"
#include "server/router.h"

namespace sluice {

// What the page shows beside the engine's report. It does not change while the server runs.
struct StatusFacts {
  std::string model;    // the name shown
  std::string version;  // of the program
  std::string device;   // "cpu", "cuda:0"
  int64_t max_context = 0;
};

// The answer of GET /status.json. Counters only ever grow: a reader takes two answers and divides differences by that of `time_s`.
//
//   model, version, device: strings; max_context
//   time_s             since the server's start, of this answer
//   draining           whether new requests are refused
//   requests           now: running, waiting, waiting_tokens; counters: finished, cancelled, failed, preemptions
//   tokens             counters: prompt_computed, prompt_cached (not computed, thanks to the prefix cache), generated, drafted,
//   accepted engine             counters: steps, failed_steps, busy_s (spent in steps); last_step_s state_slots        now: total =
//   live + snapshots + free kv_pages           now: total = live + cached + free, and page_tokens. A cached page may be in use by a
//   running request too. prefix_cache       counters: queries, hits, query_tokens, hit_tokens, evictions
std::string status_json(const EngineLoop::Report& report, const StatusFacts& facts, double time_s, bool draining);

struct WebOptions {
  StatusFacts facts;
  std::function<EngineLoop::Report()> report;  // from any thread, at once
  std::function<bool()> draining;              // none: never
};

// GET /, /web/{file} (both without a key: they are the same for all, and ask for it themselves) and /status.json.
void add_web_routes(Router& router, WebOptions options);

}  // namespace sluice
