#include "core/thread_team.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

#include "core/thread_errors.h"

namespace sluice {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kAddressesArePlain = false;
#else
constexpr bool kAddressesArePlain = true;
#endif

TEST(ThreadTeam, EveryItemRunsOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadTeam team(threads);
    for (const int64_t n : {0, 1, 2, 3, 17, 1000}) {
      std::vector<std::atomic<int>> runs(size_t(n) + 1);
      team.each(n, [&](int64_t i, int thread) {
        ASSERT_LT(thread, threads);
        ++runs[size_t(i)];
      });
      for (int64_t i = 0; i < n; ++i) ASSERT_EQ(runs[size_t(i)], 1);
    }
  }
}

TEST(ThreadTeam, AThreadGoesOnInItsOwnStretchOnly) {
  const ThreadTeam team(3);
  const auto next = [&](int64_t n, int thread) {
    std::vector<int64_t> items;
    for (int64_t i = 0; i < n; ++i)
      if (team.goes_on(i, n, thread)) items.push_back(i + 1);
    return items;
  };
  EXPECT_EQ(next(8, 0), (std::vector<int64_t>{1}));
  EXPECT_EQ(next(8, 1), (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(next(8, 2), (std::vector<int64_t>{6, 7}));
  EXPECT_TRUE(next(3, 1).empty());
}

TEST(ThreadTeam, PartsCoverTheRangeAndRespectTheGrain) {
  ThreadTeam team(3);
  for (const int64_t n : {0, 1, 5, 64, 65, 1000})
    for (const int64_t grain : {0, 1, 10, 2000}) {
      std::vector<std::atomic<int>> runs(size_t(n) + 1);
      team.split(n, grain, [&](int64_t begin, int64_t end, int) {
        ASSERT_TRUE(end - begin >= std::min(grain, n) && end > begin);
        for (int64_t i = begin; i < end; ++i) ++runs[size_t(i)];
      });
      for (int64_t i = 0; i < n; ++i) ASSERT_EQ(runs[size_t(i)], 1);
    }
}

// One thread index is never used by two at once, so that scratch can be kept by it; and what a job wrote is seen after it.
TEST(ThreadTeam, ScratchByThreadIsSafeOverManyShortJobs) {
  ThreadTeam team(4);
  std::vector<int64_t> plain(4, 0);
  int64_t expected = 0;
  for (int job = 0; job < 20000; ++job) {
    const int64_t n = 1 + job % 7;
    team.each(n, [&](int64_t, int thread) { ++plain[size_t(thread)]; });
    expected += n;
  }
  EXPECT_EQ(plain[0] + plain[1] + plain[2] + plain[3], expected);
}

// Where only some of the threads can be started, those end again and the caller learns of it.
TEST(ThreadTeam, SaysThatThereAreNoMoreThreads) {
  if (!kAddressesArePlain) GTEST_SKIP() << "the sanitizer itself reserves more address space than any limit";
  rlimit before{};
  ::getrlimit(RLIMIT_AS, &before);
  int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const rlimit low{rlim_t(pages * ::sysconf(_SC_PAGESIZE) + (100 << 20)), before.rlim_max};  // room for some stacks
  ::setrlimit(RLIMIT_AS, &low);
  std::string message;
  try {
    const ThreadTeam team(1000);
  } catch (const std::system_error& e) {
    message = no_more_threads(e).message();
  }
  ::setrlimit(RLIMIT_AS, &before);
  EXPECT_NE(message.find("no more threads can be started: "), std::string::npos);
}

// A team that ends while its helpers look for work, or are about to sleep, does not wait for them for ever.
TEST(ThreadTeam, EndsAtAnyTime) {
  for (int i = 0; i < 2000; ++i) {
    ThreadTeam team(3);
    if (i % 2) team.each(6, [](int64_t, int) {});
    if (i % 50 == 0) std::this_thread::sleep_for(std::chrono::microseconds(150 + i / 10));  // near the end of their spinning
  }
}

}  // namespace
}  // namespace sluice
