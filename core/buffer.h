// Owned memory (Buffer) and the bump workspace of a step (Arena).
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <utility>

#include "base/status.h"
#include "core/tensor.h"

namespace sluice {

inline constexpr size_t kCacheLine = 64;  // bytes; also the width of an AVX-512 register

// Memory with one owner. allocate() gives zero-filled pages of the operating system, taken when first touched.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& o) noexcept { *this = std::move(o); }
  Buffer& operator=(Buffer&& o) noexcept {
    std::swap(data_, o.data_), std::swap(size_, o.size_), std::swap(release_, o.release_);
    return *this;
  }
  ~Buffer();

  using Release = void (*)(void* data, size_t bytes);

  static Result<Buffer> allocate(size_t bytes);
  // Memory of another kind, such as a GPU's, and how it is given back.
  static Buffer adopt(void* data, size_t bytes, Release release);

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
  Release release_ = nullptr;
};

// Bump allocation over address space reserved once: the step loop never calls the allocator, and only touched pages cost memory.
// Not thread safe; operators take memory before they go parallel.
class Arena {
 public:
  static constexpr size_t kAlignment = 256;                    // bytes
  static constexpr size_t kDefaultReserve = size_t(64) << 30;  // bytes of address space, not of memory

  static Result<Arena> reserve(size_t bytes = kDefaultReserve);
  // Over memory that exists already, of a device.
  static Arena over(Buffer memory, Device device = {});

  // 256-byte aligned (what a GPU's allocator promises, and a multiple of a cache line), uninitialised. Null when the reservation is
  // used up.
  void* allocate(size_t bytes);
  // Row-major tensor in the arena; absent (rank 0) when the reservation is used up.
  Tensor tensor(DType dtype, std::initializer_list<int64_t> dims);

  size_t used() const { return used_; }
  size_t peak() const { return peak_; }
  void rewind(size_t used) { used_ = used; }
  void reset() { used_ = 0; }

 private:
  Buffer memory_;
  Device device_{};
  size_t used_ = 0, peak_ = 0;
};

// Gives back what was taken since its construction.
class ArenaScope {
 public:
  explicit ArenaScope(Arena& arena) : arena_(arena), mark_(arena.used()) {}
  ~ArenaScope() { arena_.rewind(mark_); }
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;

 private:
  Arena& arena_;
  size_t mark_;
};

}  // namespace sluice
