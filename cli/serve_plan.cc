#include "cli/serve_plan.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace sluice::cli {
namespace {

// Bytes for state and for keys and values.
struct Shares {
  double state, kv;
};

std::string bytes_text(double bytes) {
  if (bytes >= double(1 << 30)) return fmt::format("{:.1f} GiB", bytes / double(1 << 30));
  return fmt::format("{:.0f} MiB", bytes / double(1 << 20));
}

int64_t count_layers(const ModelConfig& c, LayerKind kind) { return std::ranges::count(c.layers, kind); }

// About: closed state in fp32, and as much again at most for the open rows, the convolution and alignment.
double slot_bytes(const ModelConfig& c) {
  const double one = double(c.linear_value_heads * c.linear_value_dim * c.linear_key_dim) * 4;
  return 2 * one * double(count_layers(c, LayerKind::kLinearAttention));
}

double kv_token_bytes(const ModelConfig& c, const ModelOptions& o) {
  const double layers = double(count_layers(c, LayerKind::kFullAttention) + (o.speculate > 0 ? c.mtp_layers : 0));
  const double size = o.dtype == "fp32" || (o.dtype == "auto" && c.dtype != DType::kBF16) ? 4 : 2;
  return layers * double(c.num_kv_heads * c.head_dim) * 2 * size;
}

// The first number in a file; 0 if there is none ("max").
int64_t number_in(const char* path) {
  std::ifstream file(path);
  int64_t n = 0;
  return file >> n ? n : 0;
}

double checkpoint_bytes(const std::string& dir) {
  double bytes = 0;
  std::error_code ec;
  for (const auto& file : std::filesystem::directory_iterator(dir, ec))
    if (file.path().extension() == ".safetensors") bytes += double(file.file_size(ec));
  return bytes;
}

// On the CPU parts of the free memory: the rest is for weights, activations and the page cache under the weights. On a GPU parts of
// what weights, workspace and the library's own leave.
Result<Shares> shares_of(const ModelOptions& o, const std::string& dir) {
  SLUICE_ASSIGN_OR_RETURN(const Device device, parse_device(o.device));
  if (device.kind == DeviceKind::kCpu) {
    const double available = double(available_memory());
    return Shares{0.2 * available, 0.4 * available};
  }
  const std::optional<Gpu> gpu = gpu_of(device);
  if (!gpu) return Shares{0, 0};  // the engine will say so
  const double memory = double(gpu->memory);
  constexpr double kOfCuda = 2e9;  // bytes: its context, kernels, cuBLASLt
  const double left = std::max(0.0, memory - memory / 16 - checkpoint_bytes(dir) - kOfCuda);
  return Shares{0.3 * left, 0.6 * left};
}

}  // namespace

int64_t available_memory() {
  int64_t bytes = int64_t(sysconf(_SC_AVPHYS_PAGES)) * int64_t(sysconf(_SC_PAGESIZE));
  std::ifstream info("/proc/meminfo");
  for (std::string name, rest; info >> name && std::getline(info, rest);)
    if (name == "MemAvailable:") bytes = std::atoll(rest.c_str()) << 10;
  const int64_t limit = number_in("/sys/fs/cgroup/memory.max"), used = number_in("/sys/fs/cgroup/memory.current");
  if (limit > 0) bytes = std::min(bytes, std::max<int64_t>(0, limit - used));
  return bytes;
}

Result<Capacity> plan_capacity(const ModelOptions& o, Capacity wanted) {
  SLUICE_ASSIGN_OR_RETURN(const std::string dir, config_place(o));
  SLUICE_ASSIGN_OR_RETURN(const ModelConfig config, load_model_config(dir));
  SLUICE_ASSIGN_OR_RETURN(const Shares shares, shares_of(o, dir));
  const int64_t context =
      o.max_context > 0 ? std::min(o.max_context, config.max_position_embeddings) : config.max_position_embeddings;
  if (wanted.state_slots == 0) {
    constexpr int64_t kMaxSnapshots = 256;
    const int64_t fit = int64_t(shares.state / std::max(1.0, slot_bytes(config)));
    const int64_t snapshots = std::clamp<int64_t>(fit - wanted.max_sequences, 1, std::max(kMaxSnapshots, wanted.max_sequences));
    wanted.state_slots = wanted.max_sequences + snapshots;
  }
  if (wanted.state_slots < wanted.max_sequences)
    return invalid("--state-slots is " + std::to_string(wanted.state_slots) + ", less than --max-running-requests, " +
                       std::to_string(wanted.max_sequences),
                   "each running request needs a slot, and the prefix cache some more");
  if (wanted.kv_tokens == 0) {
    const int64_t fit = int64_t(shares.kv / std::max(1.0, kv_token_bytes(config, o)));
    wanted.kv_tokens = std::max(context, std::min(fit, wanted.max_sequences * context));
  }
  return wanted;
}

std::string describe_memory(Engine& engine) {
  StatePool& states = engine.states();
  KvPool& kv = engine.kv();
  double kv_bytes = 0;
  for (const AttentionLayerCache& layer : kv.layers())
    for (const Tensor* t : {&layer.k, &layer.v}) kv_bytes += double(t->numel()) * double(dtype_size(t->dtype));
  return fmt::format("weights {}, state {} ({} slots), keys and values {} ({} tokens)",
                     bytes_text(double(engine.model().weight_bytes())),
                     bytes_text(double(states.slot_bytes()) * double(states.slots())), states.slots(), bytes_text(kv_bytes),
                     kv.pages() * KvPool::kPageTokens);
}

}  // namespace sluice::cli
