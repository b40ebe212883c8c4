#include "core/cuda/upload.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <deque>
#include <random>
#include <thread>
#include <vector>

#include "core/cuda/graph.h"
#include "core/cuda/memory.h"
#include "core/memory.h"
#include "tests/support/op_testing.h"

namespace sluice::cuda {
namespace {

using testing::gpu_context;
using Bytes = std::vector<std::byte>;

#define SKIP_WITHOUT_A_GPU() \
  if (!gpu_context()) GTEST_SKIP() << "there is no GPU here"

Bytes random_bytes(size_t count, uint64_t seed) {
  std::mt19937_64 rng(seed);
  Bytes b(count);
  for (std::byte& x : b) x = std::byte(rng());
  return b;
}

constexpr size_t kMargin = 64;
constexpr std::byte kPoison{0xee};

// Memory of the GPU between margins.
class Target {
 public:
  explicit Target(size_t bytes, size_t shift = 0) : shift_(kMargin + shift) {
    memory_ = allocate(bytes + 2 * kMargin + shift).value();
    clear();
  }
  void clear() {
    EXPECT_EQ(cudaMemset(memory_.data(), int(kPoison), memory_.size()), cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }
  std::byte* data() const { return memory_.data() + shift_; }
  // Waits for the GPU.
  void expect(const Bytes& want, const std::string& what) const {
    Bytes all(memory_.size()), expected(memory_.size(), kPoison);
    std::copy(want.begin(), want.end(), expected.begin() + std::ptrdiff_t(shift_));
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(all.data(), memory_.data(), all.size(), cudaMemcpyDeviceToHost), cudaSuccess);
    EXPECT_TRUE(all == expected) << what;
  }

 private:
  size_t shift_;
  Buffer memory_;
};

// Gives bytes that are gone when the call is over.
void upload_and_forget(Context& ctx, Bytes bytes, void* to) {
  const Status s = upload(ctx, bytes.data(), bytes.size(), to);
  EXPECT_TRUE(s.ok()) << s.to_string();
  std::fill(bytes.begin(), bytes.end(), std::byte{0});
}

constexpr size_t kSizes[] = {0,
                             1,
                             3,
                             4,
                             1023,
                             kUploadByKernel - 1,
                             kUploadByKernel,
                             kUploadByKernel + 1,
                             UploadRing::kSlotBytes,
                             UploadRing::kSlotBytes + 1,
                             2 * UploadRing::kSlots* UploadRing::kSlotBytes + 5};

TEST(Upload, AnySizeAnywhere) {
  SKIP_WITHOUT_A_GPU();
  for (const size_t size : kSizes)
    for (const size_t shift : {0, 4, 1}) {
      const Target to(size, shift);
      const Bytes bytes = random_bytes(size, size);
      upload_and_forget(*gpu_context(), bytes, to.data());
      to.expect(bytes, std::to_string(size) + " bytes to " + std::to_string(shift));
    }
}

// A runtime of its own, whose ring goes round several times though the stream is held up: what is under way keeps its slot.
TEST(Upload, ManyInOrder) {
  SKIP_WITHOUT_A_GPU();
  const auto runtime = CudaRuntime::create(0, 0).value();
  Context ctx = runtime->context();
  constexpr size_t kMost = 300'000;
  std::vector<std::unique_ptr<Target>> targets;
  std::vector<Bytes> sent;
  for (int i = 0; i < 80; ++i) {
    sent.push_back(random_bytes(size_t(i % 8) * kMost / 7, uint64_t(i)));
    targets.push_back(std::make_unique<Target>(sent.back().size()));
  }
  const Target last(kMost);
  const auto hold_up = [](void*) { std::this_thread::sleep_for(std::chrono::milliseconds(50)); };
  EXPECT_EQ(cudaLaunchHostFunc(stream_of(ctx), hold_up, nullptr), cudaSuccess);
  for (size_t i = 0; i < sent.size(); ++i) {
    upload_and_forget(ctx, sent[i], targets[i]->data());
    upload_and_forget(ctx, sent[i], last.data());  // over the one before
  }
  for (size_t i = 0; i < sent.size(); ++i) targets[i]->expect(sent[i], "upload " + std::to_string(i));
  last.expect(sent.back(), "the last of all");
}

// From many places, in pieces of all sizes, by every way.
TEST(Upload, InPieces) {
  SKIP_WITHOUT_A_GPU();
  for (const size_t size : kSizes)
    for (const bool ring : {true, false}) {
      Context ctx = *gpu_context();
      if (!ring) ctx.uploads = nullptr;
      const Target to(size);
      const Bytes bytes = random_bytes(size, size);
      Upload u(ctx, size, to.data());
      for (size_t at = 0, n = 0; at < size; at += n) {
        n = std::min(size - at, 1 + at / 2);
        Bytes piece(bytes.begin() + std::ptrdiff_t(at), bytes.begin() + std::ptrdiff_t(at + n));
        EXPECT_TRUE(u.write(piece.data(), n).ok());
        std::fill(piece.begin(), piece.end(), std::byte{0});
      }
      to.expect(bytes, std::to_string(size) + " bytes in pieces");
    }
}

TEST(Upload, WithoutARing) {
  SKIP_WITHOUT_A_GPU();
  Context ctx = *gpu_context();
  ctx.uploads = nullptr;
  const Bytes bytes = random_bytes(100'000, 1);
  const Target to(bytes.size());
  upload_and_forget(ctx, bytes, to.data());
  to.expect(bytes, "without a ring");
}

// A graph holds what it uploads, whatever goes through the ring meanwhile.
TEST(Upload, InAGraph) {
  SKIP_WITHOUT_A_GPU();
  Context& ctx = *gpu_context();
  for (const size_t size : {size_t(1000), size_t(100'000), 3 * UploadRing::kSlotBytes}) {
    Target to(size);
    const Bytes bytes = random_bytes(size, size), noise = random_bytes(2 * UploadRing::kSlots * UploadRing::kSlotBytes, 1);
    const Target elsewhere(noise.size());
    auto graph = Graph::capture(ctx, [&] {
      Bytes passing = bytes;
      const Status s = upload(ctx, passing.data(), passing.size(), to.data());
      std::fill(passing.begin(), passing.end(), std::byte{0});
      return s;
    });
    ASSERT_TRUE(graph.ok()) << graph.status().to_string();
    to.expect({}, "nothing runs in a capture");
    for (int replay = 0; replay < 2; ++replay) {
      to.clear();
      upload_and_forget(ctx, noise, elsewhere.data());
      EXPECT_TRUE(graph->launch(ctx).ok());
      to.expect(bytes, "replay of " + std::to_string(size) + " bytes");
    }
  }
}

// More pieces than the threads have room for, so that each room is used again while copies from it are under way.
TEST(Upload, BySeveralThreads) {
  SKIP_WITHOUT_A_GPU();
  std::vector<Bytes> from;
  std::deque<Target> to;
  std::vector<Transfer> transfers;
  for (const size_t size : {size_t(0), size_t(1), size_t(4097), size_t(200) << 20, size_t(3), (size_t(8) << 20) + 5})
    from.push_back(random_bytes(size, size)), to.emplace_back(size, size % 7);
  for (size_t i = 0; i < from.size(); ++i)
    transfers.push_back({from[i].size(), to[i].data(), [&from, i](size_t offset, size_t bytes, std::byte* into) -> Status {
                           std::memcpy(into, from[i].data() + offset, bytes);
                           return {};
                         }});
  const Status s = to_device(*gpu_context(), transfers);
  EXPECT_TRUE(s.ok()) << s.to_string();
  for (size_t i = 0; i < from.size(); ++i) to[i].expect(from[i], "transfer " + std::to_string(i));
}

}  // namespace
}  // namespace sluice::cuda
