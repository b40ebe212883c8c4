#include "engine/memory_plan.h"

#include <algorithm>
#include <cstdio>

#include "base/checked.h"

namespace sluice {
namespace {

constexpr int64_t kMaxSnapshots = 256;
// Of the free memory. On the CPU the rest is for activations and for the page cache under the weights.
constexpr double kStateShare = 0.3, kStateShareOnCpu = 0.2, kKeysShareOnCpu = 0.4;
constexpr size_t kMostReserve = size_t(2) << 30;  // bytes
constexpr size_t kReservePart = 32;               // of a smaller device's free memory

std::string text(size_t bytes) {
  char s[32];
  if (bytes >= size_t(1) << 30) std::snprintf(s, sizeof s, "%.1f GiB", double(bytes) / double(1 << 30));
  else std::snprintf(s, sizeof s, "%.0f MiB", double(bytes) / double(1 << 20));
  return s;
}

Status too_much(const std::string& what, size_t bytes, size_t left, const std::string& option, int64_t fit) {
  return {Code::kResourceExhausted,
          what + " need" + (what.starts_with("a ") ? "s " : " ") + text(bytes) + ", and " + text(left) +
              " are left beside weights and workspace",
          fit > 0 ? "lower " + option + " to " + std::to_string(fit) : "the device is too small for this model"};
}

int64_t fitting(size_t bytes, size_t each) { return each > 0 ? int64_t(bytes / each) : INT64_MAX; }

Status plan_slots(const MemoryNeeds& n, size_t free, MemoryPlan& p) {
  p.state_slots = n.state_slots > 0 ? n.state_slots : n.max_sequences + 1;  // one more, for a snapshot
  if (n.state_slots == 0 && n.room_for_cache) {
    const double share = (n.bounded ? kStateShare : kStateShareOnCpu) * double(free);
    const int64_t snapshots = fitting(size_t(share), n.slot_bytes) - n.max_sequences;
    p.state_slots = n.max_sequences + std::clamp<int64_t>(snapshots, 1, std::max(kMaxSnapshots, n.max_sequences));
  }
  if (n.room_for_cache && p.state_slots < n.max_sequences)  // elsewhere sequences wait for a slot
    return invalid("--state-slots is " + std::to_string(n.state_slots) + ", less than --max-running-requests, " +
                       std::to_string(n.max_sequences),
                   "each running request needs a slot, and the prefix cache some more");
  const int64_t fit = fitting(free - std::min(free, n.page_bytes), n.slot_bytes);  // a page is wanted too
  if (!n.bounded || p.state_slots <= fit) return {};
  return too_much(std::to_string(p.state_slots) + " state slots", size_t(p.state_slots) * n.slot_bytes, free,
                  n.state_slots > 0 ? "--state-slots" : "--max-running-requests", n.state_slots > 0 ? fit : fit - 1);
}

Status plan_pages(const MemoryNeeds& n, size_t free, MemoryPlan& p) {
  const int64_t context = n.max_context > 0 ? std::min(n.max_context, n.allowed_context) : n.allowed_context;
  const int64_t one = ceil_div(context + n.speculate, n.page_tokens);  // pages of the longest sequence
  const int64_t fit = n.bounded ? fitting(free, n.page_bytes) : INT64_MAX;
  const auto refuse = [&](const std::string& what, int64_t pages, const char* option, int64_t beside) {
    return too_much(what, size_t(pages) * n.page_bytes, free, option, fit * n.page_tokens - beside);
  };
  if (n.kv_tokens > 0) {
    p.kv_pages = ceil_div(n.kv_tokens, n.page_tokens);
    if (p.kv_pages > fit)
      return refuse("keys and values of " + std::to_string(n.kv_tokens) + " tokens", p.kv_pages, "--kv-tokens", 0);
  } else if (n.room_for_cache) {
    const int64_t share = n.bounded ? fit : fitting(size_t(kKeysShareOnCpu * double(free)), n.page_bytes);
    p.kv_pages = std::max(one, std::min(share, n.max_sequences * one));
  } else {
    p.kv_pages = (n.max_sequences + 1) * one;
  }
  // Asked for, it must fit; a model's own is only what it could read.
  if (p.kv_pages > fit && n.max_context > 0 && one > fit)
    return refuse("a sequence of " + std::to_string(context) + " tokens", one, "--max-context", n.speculate);
  p.kv_pages = std::min(p.kv_pages, fit);
  p.max_context = std::min(context, p.kv_pages * n.page_tokens - n.speculate);
  if (p.max_context < 1 && n.kv_tokens > 0)
    return invalid("a KV cache of " + std::to_string(n.kv_tokens) + " tokens holds no sequence", "raise --kv-tokens");
  if (p.max_context < 1) return refuse("a sequence of one page", 1, "--max-running-requests", 0);
  return {};
}

}  // namespace

Result<MemoryPlan> plan_memory(const MemoryNeeds& n) {
  MemoryPlan p{.weights = n.weights, .workspace = n.workspace};
  if (n.bounded) p.reserve = std::min(kMostReserve, n.free / kReservePart);
  const size_t free = n.free - p.reserve;
  SLUICE_RETURN_IF_ERROR(plan_slots(n, free, p));
  p.state = size_t(p.state_slots) * n.slot_bytes;
  SLUICE_RETURN_IF_ERROR(plan_pages(n, n.bounded ? free - p.state : free, p));
  p.keys = size_t(p.kv_pages) * n.page_bytes;
  if (n.bounded) p.left = free - p.state - p.keys;
  return p;
}

std::string describe(const MemoryPlan& p, int64_t page_tokens) {
  std::string s = "weights " + text(p.weights) + ", state " + text(p.state) + " (" + std::to_string(p.state_slots) +
                  " slots), keys and values " + text(p.keys) + " (" + std::to_string(p.kv_pages * page_tokens) + " tokens)";
  if (p.reserve > 0)
    s += ", workspace " + text(p.workspace) + ", kept for graphs and libraries " + text(p.reserve) + ", left " + text(p.left);
  return s;
}

}  // namespace sluice
