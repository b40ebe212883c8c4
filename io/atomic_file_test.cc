#include "io/atomic_file.h"

#include <signal.h>
#include <sys/resource.h>

#include "io/json.h"
#include "tests/support/temp_dir.h"

namespace sluice {
namespace {

using sluice::testing::TempDir;

size_t files_in(const TempDir& dir) {
  return size_t(std::distance(std::filesystem::directory_iterator(dir.root()), std::filesystem::directory_iterator()));
}

TEST(AtomicFile, AppearsWholeWhenItIsCommitted) {
  TempDir dir;
  const std::string path = dir.write("out", "old"), small(100, 'a'), large(1 << 20, 'b');
  auto file = AtomicFile::create(path);
  ASSERT_TRUE(file.ok());
  AtomicFile moved = std::move(file).value();
  std::string all;
  for (const std::string* part : {&small, &large, &small, &small}) {
    ASSERT_TRUE(moved.append(part->data(), part->size()).ok());
    all += *part;
  }
  for (int i = 0; i < 5000; ++i) {  // more than is gathered
    ASSERT_TRUE(moved.append(small.data(), small.size()).ok());
    all += small;
  }
  EXPECT_EQ(*read_small_file(path, 100), "old");
  EXPECT_TRUE(moved.commit().ok());
  EXPECT_EQ(*read_small_file(path, 4 << 20), all);
  EXPECT_EQ(files_in(dir), 1u);
}

TEST(AtomicFile, LeavesNothingWithoutACommit) {
  TempDir dir;
  {
    auto file = AtomicFile::create(dir / "out");
    ASSERT_TRUE(file.ok() && file->append("abc", 3).ok());
    EXPECT_EQ(files_in(dir), 1u);
  }
  EXPECT_EQ(files_in(dir), 0u);
}

TEST(AtomicFile, SaysWhereItCannotBe) {
  TempDir dir;
  const Status nowhere = AtomicFile::create(dir / "none/out").status();
  EXPECT_EQ(nowhere.code(), Code::kNotFound);
  EXPECT_TRUE(nowhere.message().ends_with(": cannot create: No such file or directory")) << nowhere.message();
  std::filesystem::create_directory(dir / "taken");
  auto file = AtomicFile::create(dir / "taken");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->commit().message(), dir / "taken" + ": cannot rename the finished file to this name: Is a directory");
}

// A full disk, as the limit of a file's size.
TEST(AtomicFile, SaysWhenItCannotBeWritten) {
  TempDir dir;
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{1 << 20, before.rlim_max};
  ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string part(200'000, 'x'), message = dir / "out" + ": cannot write: File too large";
  Status gathered, whole, last;
  {
    auto file = AtomicFile::create(dir / "out");
    for (int i = 0; i < 10 && gathered.ok(); ++i) gathered = file->append(part.data(), part.size());
    auto other = AtomicFile::create(dir / "out");
    const std::string large(3 << 20, 'x');
    whole = other->append(large.data(), large.size());
    auto third = AtomicFile::create(dir / "out");
    const std::string almost((1 << 20) - 10, 'x');
    EXPECT_TRUE(third->append(almost.data(), almost.size()).ok());
    EXPECT_TRUE(third->append(part.data(), part.size()).ok());
    last = third->commit();
  }
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, SIG_DFL);
  EXPECT_EQ(gathered.message(), message);
  EXPECT_EQ(whole.message(), message);
  EXPECT_EQ(last.message(), message);
  EXPECT_EQ(files_in(dir), 0u);
}

}  // namespace
}  // namespace sluice
