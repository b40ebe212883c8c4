#include "core/transfer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

namespace sluice {
namespace {

using Bytes = std::vector<std::byte>;

Bytes random_bytes(size_t count, uint64_t seed) {
  std::mt19937_64 rng(seed);
  Bytes b(count);
  for (std::byte& x : b) x = std::byte(rng());
  return b;
}

// Sources of all sizes and the places that they go to.
struct Load {
  explicit Load(std::initializer_list<size_t> sizes) {
    for (const size_t size : sizes) from.push_back(random_bytes(size, size + from.size())), to.emplace_back(size);
    for (size_t i = 0; i < from.size(); ++i)
      transfers.push_back({from[i].size(), to[i].data(), [this, i](size_t offset, size_t bytes, std::byte* into) -> Status {
                             ++reads;
                             if (offset + bytes > from[i].size()) return invalid("beyond its end");
                             std::memcpy(into, from[i].data() + offset, bytes);
                             return {};
                           }});
  }
  std::vector<Bytes> from, to;
  std::vector<Transfer> transfers;
  std::atomic<int> reads{0};
};

TEST(Transfer, EveryByteArrivesOnceWhateverThePieces) {
  for (const int threads : {1, 2, 7})
    for (const size_t piece : {size_t(1), size_t(64), size_t(1000), size_t(1) << 20}) {
      Load load{0, 1, 63, 64, 65, 0, 3000, 1};
      size_t shown = 0;
      const Status s = carry_all(load.transfers, {.threads = threads, .piece = piece, .show = [&](size_t done) {
                                                    EXPECT_GE(done, shown);
                                                    shown = done;
                                                  }});
      ASSERT_TRUE(s.ok()) << s.to_string();
      EXPECT_EQ(load.from, load.to);
      EXPECT_EQ(shown, 3194u);
      int pieces = 0;
      for (const Bytes& b : load.from) pieces += int((b.size() + piece - 1) / piece);
      EXPECT_EQ(load.reads, pieces);
    }
  EXPECT_TRUE(carry_all({}, {.threads = 3}).ok());
}

// Keeps what it was given until the end, as one does whose copies take their time.
class LateCarrier final : public TransferCarrier {
 public:
  explicit LateCarrier(std::atomic<int>& finished) : finished_(finished) {}
  Status carry(const TransferPiece& piece) override {
    if (piece.offset == 512) return {Code::kDevice, "lost"};
    held_.push_back({piece, Bytes(piece.bytes)});
    return piece.read(held_.back().second.data());
  }
  Status finish() override {
    for (const auto& [piece, bytes] : held_) std::memcpy(piece.to(), bytes.data(), bytes.size());
    ++finished_;
    return {};
  }

 private:
  std::atomic<int>& finished_;
  std::vector<std::pair<TransferPiece, Bytes>> held_;
};

TEST(Transfer, WhatIsOnItsWayHasArrivedAtTheEnd) {
  Load load{500, 300, 400};
  std::atomic<int> finished{0};
  const Status s =
      carry_all(load.transfers, {.threads = 4, .piece = 64, .make_carrier = [&] {
                                   return Result<std::unique_ptr<TransferCarrier>>(std::make_unique<LateCarrier>(finished));
                                 }});
  EXPECT_TRUE(s.ok());
  EXPECT_EQ(load.from, load.to);
  EXPECT_EQ(finished, 4);
}

TEST(Transfer, TheFirstFailureEndsIt) {
  Load load{100'000};
  std::atomic<int> finished{0};
  const Status s =
      carry_all(load.transfers, {.threads = 1, .piece = 64, .make_carrier = [&] {
                                   return Result<std::unique_ptr<TransferCarrier>>(std::make_unique<LateCarrier>(finished));
                                 }});
  EXPECT_EQ(s.message(), "lost");
  EXPECT_EQ(load.reads, 8);
  EXPECT_EQ(finished, 1) << "what was on its way before is waited for";
  const Status none =
      carry_all(load.transfers, {.threads = 3, .make_carrier = [] {
                                   return Result<std::unique_ptr<TransferCarrier>>(Status(Code::kResourceExhausted, "no room"));
                                 }});
  EXPECT_EQ(none.message(), "no room");
  // Others do not go on: they would take seconds for their half.
  std::atomic<int> reads{0};
  std::byte to{};
  const Transfer slow{3000, &to, [&](size_t offset, size_t, std::byte*) -> Status {
                        if (offset == 0) return {Code::kIo, "gone"};
                        std::this_thread::sleep_for(std::chrono::milliseconds(2));
                        ++reads;
                        return {};
                      }};
  EXPECT_EQ(carry_all({&slow, 1}, {.threads = 2, .piece = 1}).message(), "gone");
  EXPECT_LT(reads, 1500);
}

}  // namespace
}  // namespace sluice
