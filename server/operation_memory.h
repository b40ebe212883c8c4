// Where an operation that a coroutine waits for finds no memory, asio ends the coroutine by a message to its thread, and where that
// finds none either, the program. So they have theirs from the start.
#pragma once

#include <array>
#include <cstddef>
#include <new>
#include <utility>

namespace sluice {

// For the operations of one coroutine, or of one chain of callbacks, which waits for one at a time:
// asio::bind_allocator(memory.allocator(), token). It outlives them.
class OperationMemory {
 public:
  template <class T>
  class Allocator {
   public:
    using value_type = T;
    explicit Allocator(OperationMemory& memory) : memory_(&memory) {}
    template <class U>
    Allocator(const Allocator<U>& other) : memory_(other.memory_) {}  // NOLINT: implicit, as allocators are

    T* allocate(size_t n) { return static_cast<T*>(memory_->take(n * sizeof(T))); }
    void deallocate(T* p, size_t) { memory_->give(p); }
    template <class U>
    bool operator==(const Allocator<U>& other) const {
      return memory_ == other.memory_;
    }

   private:
    template <class U>
    friend class Allocator;
    OperationMemory* memory_;
  };

  OperationMemory() = default;
  OperationMemory(const OperationMemory&) = delete;
  OperationMemory& operator=(const OperationMemory&) = delete;

  Allocator<std::byte> allocator() { return Allocator<std::byte>(*this); }

 private:
  static constexpr size_t kBytes = 512;  // an accept takes the most, up to 400

  void* take(size_t bytes) {
    if (bytes > kBytes || std::exchange(taken_, true)) return ::operator new(bytes);
    return bytes_.data();
  }
  void give(void* p) {
    if (p == bytes_.data()) taken_ = false;
    else ::operator delete(p);
  }

  alignas(std::max_align_t) std::array<std::byte, kBytes> bytes_;
  bool taken_ = false;
};

}  // namespace sluice
