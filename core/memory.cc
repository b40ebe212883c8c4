#include "core/memory.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include "base/checked.h"
#if SLUICE_HAS_CUDA
#include "core/cuda/memory.h"
#include "core/cuda/transfer.h"
#include "core/cuda/upload.h"
#endif

namespace sluice {
namespace {

// xorshift64*: fast enough to fill gigabytes, and nobody draws conclusions from these numbers.
struct FastRandom {
  uint64_t state;
  float uniform() {  // [-1, 1)
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return float(int32_t((state * 0x2545F4914F6CDD1Dull) >> 32)) * 0x1p-31f;
  }
};

// The first number in a file; 0 if there is none ("max").
int64_t number_in(const char* path) {
  std::ifstream file(path);
  int64_t n = 0;
  return file >> n ? n : 0;
}

size_t memory_left_for_process() {
  int64_t bytes = int64_t(sysconf(_SC_AVPHYS_PAGES)) * int64_t(sysconf(_SC_PAGESIZE));
  std::ifstream info("/proc/meminfo");
  for (std::string name, rest; info >> name && std::getline(info, rest);)
    if (name == "MemAvailable:") bytes = std::atoll(rest.c_str()) << 10;
  const int64_t limit = number_in("/sys/fs/cgroup/memory.max"), used = number_in("/sys/fs/cgroup/memory.current");
  if (limit > 0) bytes = std::min(bytes, std::max<int64_t>(0, limit - used));
  return size_t(bytes);
}

[[maybe_unused]] bool on_gpu(const Context& ctx) { return ctx.device.kind == DeviceKind::kCuda; }

}  // namespace

Result<Buffer> allocate_memory([[maybe_unused]] Context& ctx, size_t bytes) {
#if SLUICE_HAS_CUDA
  if (on_gpu(ctx)) {
    SLUICE_ASSIGN_OR_RETURN(Buffer memory, cuda::allocate(bytes));
    SLUICE_RETURN_IF_ERROR(fill_memory(ctx, memory.data(), 0, bytes));
    return memory;
  }
#endif
  return Buffer::allocate(bytes);
}

size_t memory_left([[maybe_unused]] const Context& ctx) {
#if SLUICE_HAS_CUDA
  if (on_gpu(ctx)) return cuda::memory_left();
#endif
  return memory_left_for_process();
}

Status to_device([[maybe_unused]] Context& ctx, const void* host, size_t bytes, void* device) {
#if SLUICE_HAS_CUDA
  if (on_gpu(ctx)) return cuda::upload(ctx, host, bytes, device);
#endif
  if (bytes > 0) std::memcpy(device, host, bytes);
  return {};
}

Status to_device([[maybe_unused]] Context& ctx, std::span<const Transfer> transfers, const std::function<void(size_t done)>& show) {
  constexpr unsigned kMostThreads =
      12;  // each reads 5 GB/s out of the page cache; these reach 93 % of a bus of 55 GB/s, 8 of them 71
  TransferOptions options{.threads = int(std::clamp(std::thread::hardware_concurrency(), 2u, kMostThreads)), .show = show};
#if SLUICE_HAS_CUDA
  if (on_gpu(ctx)) {
    options.make_carrier = [&] { return cuda::make_carrier(ctx.device.index, options.piece); };
    SLUICE_RETURN_IF_ERROR(wait_for(ctx));
  }
#endif
  return carry_all(transfers, options);
}

Status to_host([[maybe_unused]] Context& ctx, const void* device, size_t bytes, void* host) {
#if SLUICE_HAS_CUDA
  if (on_gpu(ctx)) return cuda::download(ctx.stream, device, bytes, host);
#endif
  if (bytes > 0) std::memcpy(host, device, bytes);
  return {};
}

Status copy_memory([[maybe_unused]] Context& ctx, const void* from, size_t bytes, void* to) {
#if SLUICE_HAS_CUDA
  if (on_gpu(ctx)) return cuda::copy(ctx.stream, from, bytes, to);
#endif
  if (bytes > 0) std::memcpy(to, from, bytes);
  return {};
}

Status fill_memory([[maybe_unused]] Context& ctx, void* to, int value, size_t bytes) {
#if SLUICE_HAS_CUDA
  if (on_gpu(ctx)) return cuda::fill(ctx.stream, to, value, bytes);
#endif
  if (bytes > 0) std::memset(to, value, bytes);
  return {};
}

Status fill_random([[maybe_unused]] Context& ctx, const Tensor& to, float scale, uint64_t seed) {
#if SLUICE_HAS_CUDA
  if (on_gpu(ctx)) return cuda::fill_random(ctx, to.as<Bf16>(), to.numel(), scale, seed);
#endif
  FastRandom random{seed | 1};
  for (int64_t i = 0, n = to.numel(); i < n; ++i) to.as<Bf16>()[i] = Bf16(scale * random.uniform());
  return {};
}

Status wait_for([[maybe_unused]] Context& ctx) { return to_host(ctx, nullptr, 0, nullptr); }

Status bring(Context& ctx, std::initializer_list<HostArray> arrays) {
  for (const HostArray& a : arrays) *a.seen = a.host;
  if (!on_gpu(ctx)) return {};
  const auto padded = [](const Tensor& t) { return size_t(round_up(int64_t(t.bytes()), int64_t(kCacheLine))); };
  size_t bytes = 0;
  for (const HostArray& a : arrays) bytes += padded(a.host);
  auto* place = static_cast<std::byte*>(ctx.arena->allocate(bytes));
  if (!place) return {Code::kResourceExhausted, "the step's tables do not fit in the workspace", "use a smaller --prefill-chunk"};
  std::vector<std::byte> packed(bytes);
  size_t at = 0;
  for (const HostArray& a : arrays) {
    if (a.host.numel() > 0) std::memcpy(packed.data() + at, a.host.data, a.host.bytes());
    a.seen->data = place + at, a.seen->device = ctx.device;
    at += padded(a.host);
  }
  return to_device(ctx, packed.data(), bytes, place);
}

}  // namespace sluice
