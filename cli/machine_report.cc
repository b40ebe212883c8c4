#include "cli/machine_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "io/checkpoint.h"
#include "models/model.h"

namespace sluice::cli {
namespace {

std::string size_text(int64_t bytes) {
  if (bytes >= int64_t(1) << 30) return fmt::format("{:.1f} GiB", double(bytes) / double(1 << 30));
  if (bytes >= 1 << 20) return fmt::format("{:g} MiB", double(bytes) / double(1 << 20));
  return fmt::format("{:g} KiB", double(bytes) / 1024);
}

std::string line(std::string_view what, const std::string& value) { return fmt::format("{:<10} {}\n", what, value); }

std::string names(const Machine& m, bool there) {
  std::vector<std::string> found;
  for (const Instructions& i : m.instructions)
    if (i.there == there) found.push_back(i.name);
  return fmt::format("{}", fmt::join(found, " "));
}

std::string cache_text(const Cache& c) {
  const std::string type = c.type == "Data" ? "d" : c.type == "Instruction" ? "i" : "";
  return fmt::format("L{}{} {} for {} thread{}", c.level, type, size_text(c.bytes), c.threads, c.threads == 1 ? "" : "s");
}

std::string memory_text(const Machine& m) {
  const std::string huge = m.transparent_huge_pages.empty() ? "none" : m.transparent_huge_pages;
  const std::string reserved =
      m.huge_pages > 0 ? fmt::format(", {} of {} set aside", m.huge_pages, size_text(m.huge_page_bytes)) : "";
  const std::string nodes = m.numa_nodes > 1 ? fmt::format(", {} NUMA nodes", m.numa_nodes) : "";
  return fmt::format("{}, {} available{}; transparent huge pages: {}{}", size_text(m.memory_bytes), size_text(m.available_bytes),
                     nodes, huge, reserved);
}

std::string bandwidth_text(const Bandwidth& b) {
  return fmt::format("{:.1f} GB/s read by {} thread{} (best of {} passes; median {:.1f})", b.best() / 1e9, b.threads,
                     b.threads == 1 ? "" : "s", b.passes.size(), b.median() / 1e9);
}

const Bandwidth& fastest(const std::vector<Bandwidth>& all) { return *std::ranges::max_element(all, {}, &Bandwidth::best); }

// Tokens per second that no program can exceed which reads `bytes` of memory for each.
std::string bound_text(const MachineReport& r) {
  const double best = fastest(r.bandwidth).best();
  if (!r.cost) return fmt::format("one sequence: at most {:.0f} tokens/s for each GB of weights", best / 1e9);
  const double rate = best / double(r.cost->bytes());
  if (r.cost->bytes() < largest_cache(r.machine))
    return fmt::format("{}: a token reads {:.1f} MB, which the caches hold: memory does not bound it", r.cost->model,
                       double(r.cost->bytes()) / 1e6);
  return fmt::format("{}, one sequence: at most {:.{}f} tokens/s; each reads {:.3g} GB of weights and {:.3g} MB of state",
                     r.cost->model, rate, rate < 10 ? 1 : 0, double(r.cost->weights) / 1e9, double(r.cost->state) / 1e6);
}

boost::json::object bandwidth_json(const Bandwidth& b) {
  return {{"threads", b.threads}, {"best", b.best()}, {"median", b.median()}, {"passes", b.passes.size()}};
}

}  // namespace

Result<TokenCost> token_cost(const std::string& dir) {
  SLUICE_ASSIGN_OR_RETURN(const ModelConfig config, load_model_config(dir));
  SLUICE_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::open(dir));
  // Not read for a token: the draft head, and of a table of embeddings that is not the head as well all but one row.
  int64_t left_out = 0;
  for (const std::string& name : checkpoint.names())
    if (name.starts_with("mtp.") || (!config.tie_word_embeddings && name.find("embed_tokens.weight") != std::string::npos))
      left_out += int64_t(checkpoint.find(name)->bytes());
  const auto loaded = load_model(config, std::move(checkpoint), LoadOptions{});
  if (!loaded.ok()) return loaded.status().in(dir);
  const PoolSpec spec = loaded->model->pool_spec(false);
  return TokenCost{.weights = int64_t(loaded->model->weight_bytes()) - left_out,
                   .state = spec.linear_layers * spec.value_heads * spec.key_dim * spec.value_dim * int64_t(sizeof(float))};
}

Result<MachineReport> examine_machine(bool measure, int threads) {
  constexpr int64_t kLeast = int64_t(256) << 20, kMost = int64_t(1) << 30;  // bytes
  constexpr double kSeconds = 0.15;                                         // each; as much again goes to writing the buffer
  MachineReport r{.machine = read_machine()};
  if (!measure) return r;
  // Four times what the caches hold, if there is memory for it.
  const int64_t bytes =
      std::min(std::clamp(4 * largest_cache(r.machine), kLeast, kMost), std::max<int64_t>(r.machine.available_bytes / 4, 1));
  SLUICE_ASSIGN_OR_RETURN(r.bandwidth,
                          measure_bandwidth(size_t(bytes), threads > 1 ? std::vector{1, threads} : std::vector{1}, kSeconds));
  return r;
}

std::string describe(const MachineReport& r) {
  std::vector<std::string> caches;
  for (const Cache& c : r.machine.caches) caches.push_back(cache_text(c));
  std::string out = line("CPU has", names(r.machine, true)) + line("CPU lacks", names(r.machine, false));
  out += line("threads", fmt::format("{} that this process may use", r.machine.threads));
  out += line("caches", caches.empty() ? "not told by this kernel" : fmt::format("{}", fmt::join(caches, ", ")));
  out += line("memory", memory_text(r.machine));
  for (const Bandwidth& b : r.bandwidth) out += line(&b == r.bandwidth.data() ? "bandwidth" : "", bandwidth_text(b));
  if (!r.bandwidth.empty()) out += line("decode", bound_text(r));
  return out;
}

boost::json::object to_json(const MachineReport& r) {
  boost::json::object instructions;
  for (const Instructions& i : r.machine.instructions) instructions[i.name] = i.there;
  boost::json::array caches, bandwidth;
  for (const Cache& c : r.machine.caches)
    caches.push_back({{"level", c.level}, {"type", c.type}, {"bytes", c.bytes}, {"threads", c.threads}});
  for (const Bandwidth& b : r.bandwidth) bandwidth.push_back(bandwidth_json(b));
  boost::json::object all{{"instructions", instructions},
                          {"threads", r.machine.threads},
                          {"caches", caches},
                          {"numa_nodes", r.machine.numa_nodes},
                          {"memory_bytes", r.machine.memory_bytes},
                          {"available_bytes", r.machine.available_bytes},
                          {"transparent_huge_pages", r.machine.transparent_huge_pages},
                          {"huge_pages", {{"count", r.machine.huge_pages}, {"bytes", r.machine.huge_page_bytes}}},
                          {"bandwidth_bytes_per_s", bandwidth}};
  if (!r.cost) return all;
  all["token"] = {{"model", r.cost->model}, {"weight_bytes", r.cost->weights}, {"state_bytes", r.cost->state}};
  if (!r.bandwidth.empty()) all["token"].as_object()["most_per_s"] = fastest(r.bandwidth).best() / double(r.cost->bytes());
  return all;
}

}  // namespace sluice::cli
