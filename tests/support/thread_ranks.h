// Ranks that are threads of one process.
#pragma once

#include <algorithm>
#include <barrier>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "core/group.h"

namespace sluice::testing {

class ThreadRanks final : public Ranks {
 public:
  struct Meeting {
    explicit Meeting(int size) : all(size), shown(size_t(size), nullptr) {}
    std::barrier<> all;
    std::vector<const void*> shown;  // what each rank lets the others read
  };
  ThreadRanks(int rank, int size, Meeting& meeting) : Ranks(rank, size), meeting_(meeting) {}

  Status broadcast(std::vector<std::byte>& bytes) override {
    meeting_.shown[size_t(rank())] = &bytes;
    meeting_.all.arrive_and_wait();
    if (rank() != 0) bytes = *static_cast<const std::vector<std::byte>*>(meeting_.shown[0]);
    meeting_.all.arrive_and_wait();
    return {};
  }
  Status gather(const void* mine, size_t bytes, void* all) override {
    meeting_.shown[size_t(rank())] = mine;
    meeting_.all.arrive_and_wait();
    for (size_t r = 0; r < meeting_.shown.size(); ++r)
      std::memcpy(static_cast<std::byte*>(all) + r * bytes, meeting_.shown[r], bytes);
    meeting_.all.arrive_and_wait();
    return {};
  }

 private:
  Meeting& meeting_;
};

// Runs f(ranks) for each of `size` ranks at once.
inline void with_ranks(int size, const std::function<void(Ranks&)>& f) {
  ThreadRanks::Meeting meeting(size);
  std::vector<std::thread> threads;
  for (int r = 0; r < size; ++r)
    threads.emplace_back([&, r] {
      ThreadRanks ranks(r, size, meeting);
      f(ranks);
    });
  for (std::thread& t : threads) t.join();
}

}  // namespace sluice::testing
