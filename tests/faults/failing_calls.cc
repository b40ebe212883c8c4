#include "tests/faults/failing_calls.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "tests/support/operator_new.h"

namespace sluice::testing {
namespace {

Control* g_control;  // null: nothing is counted
bool g_in_main;      // written before there are threads

// ---- the functions behind ours ----

// dlsym may allocate, while malloc itself is looked up.
alignas(std::max_align_t) char g_early[4096];
size_t g_early_used;
__attribute__((tls_model("initial-exec"))) thread_local bool t_looking;  // the other models allocate

bool is_early(const void* p) { return p >= g_early && p < g_early + sizeof(g_early); }

void* early(size_t bytes) {
  const size_t size = (bytes + alignof(std::max_align_t) - 1) / alignof(std::max_align_t) * alignof(std::max_align_t);
  if (sizeof(g_early) - g_early_used < size) std::abort();
  return g_early + std::exchange(g_early_used, g_early_used + size);
}

// The function of this name that comes after ours. Two threads may both look it up, and find the same.
template <class F>
class Next {
 public:
  explicit constexpr Next(const char* name) : name_(name) {}
  template <class... A>
  auto operator()(A... arguments) {
    F* f = found_.load(std::memory_order_acquire);
    if (!f) found_.store(f = look_up(), std::memory_order_release);
    return f(arguments...);
  }

 private:
  F* look_up() {
    t_looking = true;
    auto* f = reinterpret_cast<F*>(::dlsym(RTLD_NEXT, name_));
    t_looking = false;
    if (!f) std::abort();
    return f;
  }
  const char* name_;
  std::atomic<F*> found_{nullptr};
};

constinit Next<void*(size_t)> g_malloc("malloc");
constinit Next<void*(size_t, size_t)> g_calloc("calloc");
constinit Next<void*(void*, size_t)> g_realloc("realloc");
constinit Next<void(void*)> g_free("free");
constinit Next<void*(size_t, size_t)> g_aligned_alloc("aligned_alloc");
constinit Next<int(void**, size_t, size_t)> g_posix_memalign("posix_memalign");
constinit Next<void*(void*, size_t, int, int, int, off_t)> g_mmap("mmap");
constinit Next<int(const char*, int, mode_t)> g_open("open");
constinit Next<FILE*(const char*, const char*)> g_fopen("fopen");
constinit Next<ssize_t(int, void*, size_t)> g_read("read");
constinit Next<ssize_t(int, const iovec*, int)> g_readv("readv");
constinit Next<ssize_t(int, void*, size_t, off_t)> g_pread("pread");

// ---- which calls fail ----

void write_stack() {
  void* frames[64];
  ::backtrace_symbols_fd(frames, ::backtrace(frames, 64), STDERR_FILENO);
  (void)!::write(STDERR_FILENO, "\n", 1);
}

// Counts a call. Whether it is one that fails.
bool chosen(CallKind kind) {
  Control* const c = g_control;
  if (!c || !g_in_main) return false;
  const int64_t n = (kind == kAllocation ? c->allocations : c->reads).fetch_add(1) + 1;
  if (c->kind != kind || n < c->first || n > c->last) return false;
  ++c->failed;
  if (c->trace.exchange(0) != 0) write_stack();  // of the first; what that allocates may fail as well
  return true;
}

bool allocation_fails() {
  if (!chosen(kAllocation)) return false;
  errno = ENOMEM;
  return true;
}

bool is_short() { return g_control->error == kShortRead; }

// Whether a call that gives no bytes, an open or a mapping, fails. A mapping is not interrupted.
bool opening_fails(bool interruptible) {
  if (!chosen(kRead) || is_short() || (!interruptible && g_control->error == EINTR)) return false;
  errno = int(g_control->error);
  return true;
}

// A read by f(most bytes).
template <class F>
ssize_t read_or_fail(size_t bytes, F f) {
  if (!chosen(kRead)) return f(bytes);
  if (is_short()) return f(std::min(bytes, std::max<size_t>(bytes / 2, 1)));
  errno = int(g_control->error);
  return -1;
}

int open_or_fail(const char* path, int flags, mode_t mode) {
  const bool reads = (flags & O_ACCMODE) == O_RDONLY;
  return reads && opening_fails(true) ? -1 : g_open(path, flags, mode);
}

FILE* fopen_or_fail(const char* path, const char* mode) {
  return mode[0] == 'r' && opening_fails(true) ? nullptr : g_fopen(path, mode);
}

void* map_or_fail(void* at, size_t bytes, int protection, int flags, int fd, off_t offset) {
  const bool fails = (flags & MAP_ANONYMOUS) ? allocation_fails() : opening_fails(false);
  return fails ? MAP_FAILED : g_mmap(at, bytes, protection, flags, fd, offset);
}

ssize_t pread_or_fail(int fd, void* to, size_t bytes, off_t offset) {
  return read_or_fail(bytes, [&](size_t n) { return g_pread(fd, to, n, offset); });
}

int (*g_main)(int, char**, char**);

int counted_main(int count, char** arguments, char** environment) {
  g_in_main = true;
  return g_main(count, arguments, environment);
}

__attribute__((constructor)) void find_control() {
  const char* path = std::getenv("SLUICE_FAILING_CALLS");
  if (!path) return;
  void* frame;
  ::backtrace(&frame, 1);  // loads what it needs
  const int fd = g_open(path, O_RDWR | O_CLOEXEC, 0);
  void* page = fd < 0 ? MAP_FAILED : g_mmap(nullptr, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (page == MAP_FAILED) {
    std::perror(path);
    std::abort();
  }
  ::close(fd);
  g_control = static_cast<Control*>(page);
}

}  // namespace

void control_calls(Control* control) { g_control = control; }

void* allocate(std::size_t bytes, std::size_t alignment) {
  if (allocation_fails()) throw std::bad_alloc();
  const size_t size = std::max<size_t>(bytes, 1);
  void* p = alignment == 0 ? g_malloc(size) : g_aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (!p) throw std::bad_alloc();
  return p;
}

void release(void* p) noexcept { g_free(p); }

}  // namespace sluice::testing

using namespace sluice::testing;

extern "C" {

int __libc_start_main(int (*main)(int, char**, char**), int count, char** arguments, void (*init)(), void (*fini)(),
                      void (*loader_fini)(), void* stack_end) {
  using Start = int(int (*)(int, char**, char**), int, char**, void (*)(), void (*)(), void (*)(), void*);
  g_main = main;
  return Next<Start>("__libc_start_main")(counted_main, count, arguments, init, fini, loader_fini, stack_end);
}

void* malloc(size_t bytes) {
  if (t_looking) return early(bytes);
  return allocation_fails() ? nullptr : g_malloc(bytes);
}
void* calloc(size_t n, size_t bytes) {
  if (t_looking) return early(n * bytes);  // static memory is zero
  return allocation_fails() ? nullptr : g_calloc(n, bytes);
}
void* realloc(void* p, size_t bytes) {
  if (is_early(p)) std::abort();  // nobody has done so yet
  return allocation_fails() ? nullptr : g_realloc(p, bytes);
}
void free(void* p) {
  if (!is_early(p)) g_free(p);
}
void* aligned_alloc(size_t alignment, size_t bytes) { return allocation_fails() ? nullptr : g_aligned_alloc(alignment, bytes); }
void* memalign(size_t alignment, size_t bytes) { return aligned_alloc(alignment, bytes); }
int posix_memalign(void** p, size_t alignment, size_t bytes) {
  return allocation_fails() ? ENOMEM : g_posix_memalign(p, alignment, bytes);
}

void* mmap(void* at, size_t bytes, int protection, int flags, int fd, off_t offset) {
  return map_or_fail(at, bytes, protection, flags, fd, offset);
}
void* mmap64(void* at, size_t bytes, int protection, int flags, int fd, off_t offset) {
  return map_or_fail(at, bytes, protection, flags, fd, offset);
}

int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return open_or_fail(path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return open_or_fail(path, flags, mode);
}
FILE* fopen(const char* path, const char* mode) { return fopen_or_fail(path, mode); }
FILE* fopen64(const char* path, const char* mode) { return fopen_or_fail(path, mode); }
ssize_t read(int fd, void* to, size_t bytes) {
  return read_or_fail(bytes, [&](size_t n) { return g_read(fd, to, n); });
}
ssize_t readv(int fd, const iovec* parts, int count) {
  return read_or_fail(size_t(count), [&](size_t n) { return g_readv(fd, parts, int(n)); });
}
ssize_t pread(int fd, void* to, size_t bytes, off_t offset) { return pread_or_fail(fd, to, bytes, offset); }
ssize_t pread64(int fd, void* to, size_t bytes, off_t offset) { return pread_or_fail(fd, to, bytes, offset); }
}
