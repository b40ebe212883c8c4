// PTX of the tensor cores of compute capability 10.0 and 10.3, each instruction wrapped once: tensor memory, and products that one
// thread starts for the whole block.
//
// Tensor memory has 128 lanes of 512 columns of 32 bits. An address is lane << 16 | column. Warp w reaches the 32 lanes from
// 32 (w % 4) on, and its addresses name the first of them. A product's row is a lane; 16-bit elements lie two to a column.
//
// A product is over when the mbarrier of the commit behind it completes. Whoever then reads or writes tensor memory says
// tcgen05_fence_after() behind the wait; whoever lets a product begin says tcgen05_fence_before() ahead of the arrival.
#pragma once

#include "core/cuda/ptx.h"

namespace sluice::cuda::ptx {

// --- tensor memory ---

// By one warp: columns (a power of two, 32 or more) of the multiprocessor's tensor memory, their address to shared memory. Waits
// for blocks that hold them; tmem_relinquish() lets others have what is left.
template <int Columns>
__device__ inline void tmem_allocate(uint32_t* to) {
  asm volatile("tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [%0], %1;" ::"r"(shared_address(to)), "n"(Columns)
               : "memory");
}

__device__ inline void tmem_relinquish() {
  asm volatile("tcgen05.relinquish_alloc_permit.cta_group::1.sync.aligned;" ::: "memory");
}

// By the warp that allocated them, ahead of the block's end.
template <int Columns>
__device__ inline void tmem_free(uint32_t address) {
  asm volatile("tcgen05.dealloc.cta_group::1.sync.aligned.b32 %0, %1;" ::"r"(address), "n"(Columns) : "memory");
}

// 32 columns of each thread's lane; not to be used before tmem_wait_load() and a pin() of the registers.
__device__ inline void tmem_load(float (&r)[32], uint32_t address) {
  asm volatile(
      "tcgen05.ld.sync.aligned.32x32b.x32.b32 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31}, [%32];"
      : "=f"(r[0]), "=f"(r[1]), "=f"(r[2]), "=f"(r[3]), "=f"(r[4]), "=f"(r[5]), "=f"(r[6]), "=f"(r[7]), "=f"(r[8]), "=f"(r[9]),
        "=f"(r[10]), "=f"(r[11]), "=f"(r[12]), "=f"(r[13]), "=f"(r[14]), "=f"(r[15]), "=f"(r[16]), "=f"(r[17]), "=f"(r[18]),
        "=f"(r[19]), "=f"(r[20]), "=f"(r[21]), "=f"(r[22]), "=f"(r[23]), "=f"(r[24]), "=f"(r[25]), "=f"(r[26]), "=f"(r[27]),
        "=f"(r[28]), "=f"(r[29]), "=f"(r[30]), "=f"(r[31])
      : "r"(address)
      : "memory");
}

__device__ inline void tmem_wait_load() { asm volatile("tcgen05.wait::ld.sync.aligned;" ::: "memory"); }

// The inverse of tmem_load().
__device__ inline void tmem_store(uint32_t address, const float (&r)[32]) {
  asm volatile(
      "tcgen05.st.sync.aligned.32x32b.x32.b32 [%0], "
      "{%1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, "
      "%25, %26, %27, %28, %29, %30, %31, %32};" ::"r"(address),
      "f"(r[0]), "f"(r[1]), "f"(r[2]), "f"(r[3]), "f"(r[4]), "f"(r[5]), "f"(r[6]), "f"(r[7]), "f"(r[8]), "f"(r[9]), "f"(r[10]),
      "f"(r[11]), "f"(r[12]), "f"(r[13]), "f"(r[14]), "f"(r[15]), "f"(r[16]), "f"(r[17]), "f"(r[18]), "f"(r[19]), "f"(r[20]),
      "f"(r[21]), "f"(r[22]), "f"(r[23]), "f"(r[24]), "f"(r[25]), "f"(r[26]), "f"(r[27]), "f"(r[28]), "f"(r[29]), "f"(r[30]),
      "f"(r[31])
      : "memory");
}

// 16 columns of each thread's lane: 32 elements of 16 bits.
__device__ inline void tmem_store(uint32_t address, const uint32_t (&r)[16]) {
  asm volatile(
      "tcgen05.st.sync.aligned.32x32b.x16.b32 [%0], "
      "{%1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16};" ::"r"(address),
      "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]), "r"(r[4]), "r"(r[5]), "r"(r[6]), "r"(r[7]), "r"(r[8]), "r"(r[9]), "r"(r[10]),
      "r"(r[11]), "r"(r[12]), "r"(r[13]), "r"(r[14]), "r"(r[15])
      : "memory");
}

__device__ inline void tmem_wait_store() { asm volatile("tcgen05.wait::st.sync.aligned;" ::: "memory"); }

// --- order between threads ---

__device__ inline void tcgen05_fence_before() { asm volatile("tcgen05.fence::before_thread_sync;" ::: "memory"); }
__device__ inline void tcgen05_fence_after() { asm volatile("tcgen05.fence::after_thread_sync;" ::: "memory"); }

// Arrives at `bar` once all products that this thread has started are over.
__device__ inline void tcgen05_commit(uint64_t* bar) {
  asm volatile("tcgen05.commit.cta_group::1.mbarrier::arrive::one.shared::cluster.b64 [%0];" ::"r"(shared_address(bar)) : "memory");
}

// --- products ---

// True in one thread of a warp whose 32 threads all call it. Products are best started by such a thread: the compiler then knows
// that it is alone, and their operands go to uniform registers without a loop over threads.
__device__ inline bool elect_one() {
  uint32_t elected;
  asm volatile("{ .reg .pred p; elect.sync _|p, 0xffffffff; selp.b32 %0, 1, 0, p; }" : "=r"(elected)::"memory");
  return elected;
}

enum class Half : int { kFp16 = 0, kBf16 = 1 };

// The instruction descriptor of D[128, N] (+)= A[128, 16] B[N, 16]^T with fp32 sums; A's rows lie along the summed dimension.
constexpr uint32_t tcgen05_shape(Half type, int N, Major b) {
  constexpr uint32_t kFp32Sums = 1 << 4, kRows = 128;
  return kFp32Sums | uint32_t(type) << 7 | uint32_t(type) << 10 | uint32_t(b) << 16 | uint32_t(N / 8) << 17 | kRows / 16 << 24;
}

// An operand in shared memory with 128-byte swizzle, as wgmma_operand() but for the version of the format.
__device__ inline uint64_t tcgen05_operand(uint32_t address, uint32_t leading_bytes, uint32_t group_bytes) {
  constexpr uint64_t kSwizzle128 = uint64_t(2) << 61, kVersion = uint64_t(1) << 46;
  return kSwizzle128 | kVersion | uint64_t(group_bytes >> 4) << 32 | uint64_t(leading_bytes >> 4) << 16 |
         ((address & 0x3ffff) >> 4);
}

// The same operand, `bytes` further on; addresses stay below 2^18, so that nothing carries.
__device__ inline uint64_t tcgen05_advance(uint64_t operand, uint32_t bytes) { return operand + (bytes >> 4); }

// The product of `shape`, A in tensor memory.
__device__ inline void tcgen05_mma(uint32_t d, uint32_t a, uint64_t b, uint32_t shape, bool accumulate) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %4, 0;\n"
      "tcgen05.mma.cta_group::1.kind::f16 [%0], [%1], %2, %3, p; }" ::"r"(d),
      "r"(a), "l"(b), "r"(shape), "r"(int(accumulate))
      : "memory");
}

// The same, A in shared memory.
__device__ inline void tcgen05_mma(uint32_t d, uint64_t a, uint64_t b, uint32_t shape, bool accumulate) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %4, 0;\n"
      "tcgen05.mma.cta_group::1.kind::f16 [%0], %1, %2, %3, p; }" ::"r"(d),
      "l"(a), "l"(b), "r"(shape), "r"(int(accumulate))
      : "memory");
}

}  // namespace sluice::cuda::ptx
