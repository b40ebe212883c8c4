#include "core/cuda/launch.h"
#include "tests/dependent_launch/kernels.h"

namespace sluice::dependent_launch {
namespace {

using cuda::wait_for_previous_kernel;

constexpr std::byte kPoison{0xee};
constexpr int kThreads = 256;
constexpr unsigned kFew = 8, kMany = 128;  // blocks; few leave room for the kernel under test beside them
constexpr unsigned kSleep = 100'000;       // ns: longer than any kernel under test takes to start

// Calls f(piece, i) for bytes of the memory, shared out over the grid.
template <class F>
__device__ void each_byte(const Memory& m, F&& f) {
  for (int p = 0; p < m.count; ++p)
    for (size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x; i < m.pieces[p].bytes; i += size_t(gridDim.x) * blockDim.x)
      f(m.pieces[p], i);
}

// Nothing of the poison may be seen before it is whole: launched plainly.
__global__ void poison_kernel(Memory m) {
  each_byte(m, [](const Piece& p, size_t i) { p.at[i] = kPoison; });
}

__global__ void slow(Memory m) {
  wait_for_previous_kernel();  // and lets the next kernel start
  __nanosleep(kSleep);         // a thread sleeps at most a millisecond
  each_byte(m, [&](const Piece& p, size_t i) {
    if (*reinterpret_cast<volatile std::byte*>(p.at + i) != kPoison) atomicAdd(&m.log->early, 1u);
    p.at[i] = m.before[p.offset + i];
  });
  __syncthreads();
  if (blockIdx.x == 0 && threadIdx.x == 0) m.log->late = m.log->replay;
}

__global__ void last(Memory m, bool waits) {
  if (waits) wait_for_previous_kernel();
  if (blockIdx.x == 0 && threadIdx.x == 0 && *reinterpret_cast<volatile uint32_t*>(&m.log->late) != m.log->replay) ++m.log->missed;
  each_byte(m, [&](const Piece& p, size_t i) {
    if (p.at[i] != m.after[p.offset + i]) atomicAdd(&m.log->wrong, 1u);
  });
}

__global__ void count_kernel(Memory m) { ++m.log->replay; }

template <Copy How>
__global__ void copy_kernel(const uint32_t* x, uint32_t* y, int n) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  uint32_t value = 0;
  if (How == Copy::kReadsEarly && i < n) value = *reinterpret_cast<const volatile uint32_t*>(x + i);
  if (How == Copy::kWritesEarly && i < n) y[i] = 0;
  if (How != Copy::kNeverWaits) wait_for_previous_kernel();
  if (How == Copy::kNeverWaits) cuda::ptx::launch_dependents();
  if (How != Copy::kReadsEarly && i < n) value = *reinterpret_cast<const volatile uint32_t*>(x + i);
  if (i < n) y[i] = value + 1;
}

}  // namespace

Status poison(const Context& ctx, const Memory& m) {
  return cuda::launch(ctx, poison_kernel, {.grid = kMany, .block = kThreads}, m);
}
Status slow_kernel(const Context& ctx, const Memory& m) { return cuda::launch(ctx, slow, {.grid = kFew, .block = kThreads}, m); }
Status last_kernel(const Context& ctx, const Memory& m, bool waits) {
  return cuda::launch(ctx, last, {.grid = kMany, .block = kThreads, .dependent = true}, m, waits);
}
Status count_replay(const Context& ctx, const Memory& m) { return cuda::launch(ctx, count_kernel, {.grid = 1, .block = 1}, m); }

Status run_copy(const Context& ctx, Copy how, const uint32_t* x, uint32_t* y, int n) {
  const cuda::LaunchShape shape{.grid = unsigned((n + kThreads - 1) / kThreads), .block = kThreads, .dependent = true};
  switch (how) {
    case Copy::kReadsEarly:
      return cuda::launch(ctx, copy_kernel<Copy::kReadsEarly>, shape, x, y, n);
    case Copy::kWritesEarly:
      return cuda::launch(ctx, copy_kernel<Copy::kWritesEarly>, shape, x, y, n);
    case Copy::kNeverWaits:
      return cuda::launch(ctx, copy_kernel<Copy::kNeverWaits>, shape, x, y, n);
    default:
      return cuda::launch(ctx, copy_kernel<Copy::kWaits>, shape, x, y, n);
  }
}

}  // namespace sluice::dependent_launch
