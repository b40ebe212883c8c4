#include "core/buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <string>

#include "base/checked.h"

namespace sluice {

Buffer::~Buffer() {
  if (data_) release_(data_, size_);
}

Buffer Buffer::adopt(void* data, size_t bytes, Release release) {
  Buffer b;
  b.data_ = static_cast<std::byte*>(data), b.size_ = bytes, b.release_ = release;
  return b;
}

Result<Buffer> Buffer::allocate(size_t bytes) {
  if (bytes == 0) return Buffer();
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return Status(Code::kResourceExhausted, "could not allocate " + std::to_string(bytes) + " bytes");
  constexpr size_t kHugePage = size_t(2) << 20;  // bytes; smaller buffers would waste most of one
  if (bytes >= kHugePage) madvise(p, bytes, MADV_HUGEPAGE);
  return adopt(p, bytes, [](void* data, size_t size) { munmap(data, size); });
}

Result<Arena> Arena::reserve(size_t bytes) {
  Arena a;
  // A machine with a limit on address space still works, with a smaller largest step.
  for (; bytes >= (size_t(64) << 20); bytes /= 2) {
    if (auto b = Buffer::allocate(bytes); b.ok()) {
      a.memory_ = std::move(b).value();
      return a;
    }
  }
  return Status(Code::kResourceExhausted, "could not reserve 64 MiB of address space for the workspace",
                "raise the limit on virtual memory (ulimit -v)");
}

Arena Arena::over(Buffer memory, Device device) {
  Arena a;
  a.memory_ = std::move(memory), a.device_ = device;
  return a;
}

void* Arena::allocate(size_t bytes) {
  const size_t size = size_t(round_up(int64_t(bytes), int64_t(kAlignment)));
  if (size > memory_.size() - used_) return nullptr;
  void* p = memory_.data() + used_;
  used_ += size;
  peak_ = std::max(peak_, used_);
  return p;
}

Tensor Arena::tensor(DType dtype, std::initializer_list<int64_t> dims) {
  Tensor t(nullptr, dtype, dims, device_);
  t.data = allocate(t.bytes());
  return t.data ? t : Tensor();
}

}  // namespace sluice
