#include "io/mapped_file.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "io/regular_file.h"

namespace sluice {
namespace {

// What the signal handler may look at: fixed memory, no locks. begin is kFree, kClaimed while a thread fills or empties the row, or
// the first address; a row is valid once begin is an address.
struct Row {
  std::atomic<uintptr_t> begin;
  std::atomic<uintptr_t> end;
  std::atomic<const char*> path;
};
constexpr uintptr_t kFree = 0, kClaimed = 1;
constexpr size_t kMaxMappings = 1024;  // the largest published checkpoints have about 200 shards
std::array<Row, kMaxMappings> g_rows;

// Where the row begins that now stands for the mapping; null: none is free.
std::atomic<uintptr_t>* register_mapping(uintptr_t begin, size_t size, const char* path) {
  for (Row& row : g_rows) {
    uintptr_t expected = kFree;
    if (!row.begin.compare_exchange_strong(expected, kClaimed, std::memory_order_acquire)) continue;
    row.end.store(begin + size, std::memory_order_relaxed);
    row.path.store(path, std::memory_order_relaxed);
    row.begin.store(begin, std::memory_order_release);
    return &row.begin;
  }
  return nullptr;
}

// One line built on the handler's stack: nothing here may allocate or lock.
class SignalSafeLine {
 public:
  SignalSafeLine& text(const char* s) {
    while (*s && size_ + 1 < sizeof(buffer_)) buffer_[size_++] = *s++;
    return *this;
  }
  SignalSafeLine& number(uintptr_t n) {
    char digits[24];
    char* p = digits + sizeof(digits);
    *--p = '\0';
    do *--p = char('0' + n % 10);
    while (n /= 10);
    return text(p);
  }
  void write_to_stderr() {
    buffer_[size_++] = '\n';
    for (size_t done = 0; done < size_;) {
      const ssize_t n = ::write(STDERR_FILENO, buffer_ + done, size_ - done);
      if (n <= 0) return;
      done += size_t(n);
    }
  }

 private:
  char buffer_[4096 + 256];  // PATH_MAX and the words around it
  size_t size_ = 0;
};

void on_sigbus(int signal, siginfo_t* info, void*) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  // si_code <= 0: sent by kill(), si_addr means nothing.
  for (size_t i = 0; info->si_code > 0 && i < kMaxMappings; ++i) {
    const uintptr_t begin = g_rows[i].begin.load(std::memory_order_acquire);
    if (begin <= kClaimed || address < begin || address >= g_rows[i].end.load(std::memory_order_relaxed)) continue;
    SignalSafeLine line;
    line.text("sluice: ").text(g_rows[i].path.load(std::memory_order_relaxed)).text(": byte ").number(address - begin);
    line.text(" can no longer be read: the file was truncated or its disk failed while in use; restore the file and start again");
    line.write_to_stderr();
    ::_exit(1);
  }
  ::signal(signal, SIG_DFL);
  ::raise(signal);  // blocked until this handler returns, then deadly
}

}  // namespace

struct MappedFile::Mapping {
  std::string path;
  std::byte* data = nullptr;
  size_t size = 0;
  std::pair<uint64_t, uint64_t> identity;
  std::atomic<uintptr_t>* row = nullptr;  // its beginning

  ~Mapping() {
    if (row) row->store(kFree, std::memory_order_release);
    if (data) ::munmap(data, size);
  }
};

Result<MappedFile> MappedFile::open(const std::string& path) {
  SLUICE_ASSIGN_OR_RETURN(const RegularFile file, RegularFile::open(path));
  auto mapping = std::make_unique<Mapping>();
  mapping->path = path, mapping->identity = file.identity();
  if (file.size() == 0) return MappedFile(std::move(mapping));  // mmap takes no empty range
  void* data = ::mmap(nullptr, file.size(), PROT_READ, MAP_PRIVATE, file.fd(), 0);
  if (data == MAP_FAILED) return errno_status(path, "map " + std::to_string(file.size()) + " bytes", errno);
  mapping->data = static_cast<std::byte*>(data);
  mapping->size = file.size();
  mapping->row = register_mapping(reinterpret_cast<uintptr_t>(data), mapping->size, mapping->path.c_str());
  if (!mapping->row)
    return Status(Code::kResourceExhausted,
                  path + ": " + std::to_string(kMaxMappings) + " files are mapped already, the most at a time");
  return MappedFile(std::move(mapping));
}

MappedFile::MappedFile(std::unique_ptr<Mapping> mapping) : mapping_(std::move(mapping)) {}
MappedFile::MappedFile(MappedFile&&) noexcept = default;
MappedFile& MappedFile::operator=(MappedFile&&) noexcept = default;
MappedFile::~MappedFile() = default;

std::span<const std::byte> MappedFile::bytes() const { return {mapping_->data, mapping_->size}; }
const std::string& MappedFile::path() const { return mapping_->path; }

// Opened anew: a descriptor for each mapping would be too many where there are a thousand.
Status MappedFile::read(size_t offset, size_t bytes, std::byte* to) const {
  SLUICE_ASSIGN_OR_RETURN(const RegularFile file, RegularFile::open(path()));
  if (file.identity() != mapping_->identity) return bad_file(path() + ": another file has taken its place", "start again");
  while (bytes > 0) {
    const ssize_t n = ::pread(file.fd(), to, bytes, off_t(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_status(path(), "read", errno);
    if (n == 0)
      return {Code::kIo, path() + ": ends at byte " + std::to_string(offset) + ": the file was truncated while in use",
              "restore the file and start again"};
    offset += size_t(n), bytes -= size_t(n), to += n;
  }
  return {};
}

void install_truncation_guard() {
  struct sigaction action = {};
  action.sa_sigaction = on_sigbus;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace sluice
