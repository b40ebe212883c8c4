#include "io/mapped_file.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "tests/support/temp_dir.h"

namespace sluice {
namespace {

using sluice::testing::TempDir;

std::string text_of(const MappedFile& file) {
  return std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
}

TEST(MappedFile, ReadsAFileAlsoThroughALinkAndAfterAMove) {
  TempDir dir;
  const std::string path = dir.write("a", "hello");
  std::filesystem::create_symlink("a", dir / "link");
  auto file = MappedFile::open(dir / "link");
  ASSERT_TRUE(file.ok()) << file.status().message();
  const std::byte* data = file->bytes().data();
  const MappedFile moved = std::move(file).value();
  EXPECT_EQ(text_of(moved), "hello");
  EXPECT_EQ(moved.bytes().data(), data);
  EXPECT_EQ(moved.path(), dir / "link");
}

TEST(MappedFile, AnEmptyFileHasNoBytes) {
  TempDir dir;
  const auto file = MappedFile::open(dir.write("empty", ""));
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(file->bytes().empty());
}

TEST(MappedFile, RefusesAllButRegularFiles) {
  TempDir dir;
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  std::filesystem::create_symlink("pipe", dir / "link");
  EXPECT_EQ(MappedFile::open(dir.root()).status().message(), dir.root() + ": is a directory, wanted a regular file");
  EXPECT_EQ(MappedFile::open(dir / "link").status().message(), dir / "link" + ": is a pipe, wanted a regular file");
  ASSERT_EQ(::mknod((dir / "socket").c_str(), S_IFSOCK | 0600, 0), 0);
  EXPECT_EQ(MappedFile::open(dir / "socket").status().message(), dir / "socket" + ": cannot open: No such device or address");
  EXPECT_EQ(MappedFile::open("/dev/zero").status().message(), "/dev/zero: is a device, wanted a regular file");
  EXPECT_EQ(MappedFile::open(dir / "none").status().message(), dir / "none" + ": cannot open: No such file or directory");
  EXPECT_EQ(MappedFile::open(dir / "none").status().code(), Code::kNotFound);
  const std::string file = dir.write("file", "x");
  EXPECT_EQ(MappedFile::open(file + "/x").status().code(), Code::kNotFound);  // not in a folder
  EXPECT_EQ(MappedFile::open(file + std::string("\0x", 2)).status().message(), file + ": the path goes on after a NUL byte");
}

TEST(MappedFile, RefusesMoreMappingsThanTheGuardCanNameAndTakesThemAgainWhenFreed) {
  TempDir dir;
  const std::string path = dir.write("a", "x");
  std::vector<MappedFile> open;
  for (int i = 0; i < 1024; ++i) {
    auto file = MappedFile::open(path);
    ASSERT_TRUE(file.ok()) << i;
    open.push_back(std::move(file).value());
  }
  EXPECT_EQ(MappedFile::open(path).status().message(), path + ": 1024 files are mapped already, the most at a time");
  open.pop_back();
  EXPECT_TRUE(MappedFile::open(path).ok());
}

TEST(MappedFile, ReadsPastTheMapping) {
  TempDir dir;
  std::string text(40000, 'x');
  for (size_t i = 0; i < text.size(); ++i) text[i] = char(i * 31 + i / 256);
  const std::string path = dir.write("weights", text);
  const auto file = MappedFile::open(path);
  ASSERT_TRUE(file.ok());
  std::string part(20000, ' ');
  const auto read = [&](size_t offset) { return file->read(offset, part.size(), reinterpret_cast<std::byte*>(part.data())); };
  EXPECT_TRUE(read(12345).ok());
  EXPECT_EQ(part, text.substr(12345, part.size()));
  ASSERT_EQ(::truncate(path.c_str(), 30000), 0);
  EXPECT_EQ(read(12345).message(), path + ": ends at byte 30000: the file was truncated while in use");
  std::filesystem::rename(path, dir / "old");
  EXPECT_EQ(read(0).code(), Code::kNotFound);
  dir.write("weights", text);
  EXPECT_EQ(read(0).message(), path + ": another file has taken its place");
}

// Fault row 4. The children run what would kill this process.
class TruncationGuard : public ::testing::Test {
 protected:
  static void read_after_truncation(const std::string& path, size_t offset) {
    install_truncation_guard();
    const auto file = MappedFile::open(path);
    if (!file.ok() || ::truncate(path.c_str(), 4096) != 0) ::_exit(3);
    volatile std::byte b = file->bytes()[offset];
    (void)b;
    ::_exit(0);
  }
  TempDir dir_;
};

TEST_F(TruncationGuard, NamesPathAndOffsetAndExitsWithOne) {
  const std::string path = dir_.write("weights", std::string(40000, 'x'));
  EXPECT_EXIT(read_after_truncation(path, 12345), ::testing::ExitedWithCode(1),
              "^sluice: " + path + ": byte 12345 can no longer be read: the file was truncated [^\n]*\n$");
}

TEST_F(TruncationGuard, LeavesWhatIsStillThereAlone) {
  const std::string path = dir_.write("weights", std::string(40000, 'x'));
  EXPECT_EXIT(read_after_truncation(path, 4095), ::testing::ExitedWithCode(0), "^$");
}

TEST_F(TruncationGuard, LeavesOtherSignalsToTheDefault) {
  const auto raise_it = [] {
    install_truncation_guard();
    ::raise(SIGBUS);
    ::_exit(0);
  };
  EXPECT_EXIT(raise_it(), ::testing::KilledBySignal(SIGBUS), "^$");
}

}  // namespace
}  // namespace sluice
