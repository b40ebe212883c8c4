#if SLUICE_HAS_CUPTI
#include "core/cuda/cupti.h"

#include <cupti.h>
#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "base/library.h"

namespace sluice::cuda {
namespace {

// Of CUDA 13, 12, and where a toolkit has it. What is read of its records has been the same since 11.1.
constexpr const char* kNames[] = {"libcupti.so.13", "libcupti.so.12", "/usr/local/cuda/extras/CUPTI/lib64/libcupti.so",
                                  "/usr/local/cuda/lib64/libcupti.so"};
constexpr CUpti_ActivityKind kKinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                                         CUPTI_ACTIVITY_KIND_MEMSET};
constexpr size_t kBufferBytes = size_t(8) << 20;

// The functions that are called, and no others.
struct Cupti {
  decltype(&cuptiActivityRegisterCallbacks) register_callbacks;
  decltype(&cuptiActivityEnable) enable;
  decltype(&cuptiActivityDisable) disable;
  decltype(&cuptiActivityFlushAll) flush;
  decltype(&cuptiActivityGetNextRecord) next;
  decltype(&cuptiActivityGetNumDroppedRecords) dropped;
  decltype(&cuptiGetResultString) text_of;
};

// CUPTI hands buffers back on a thread of its own and says nothing of whose they are.
struct Records {
  std::mutex mutex;
  std::vector<DeviceWork> work;
  size_t dropped = 0;
};
Records& records() {
  static Records all;
  return all;
}

Result<Cupti> load();
const Result<Cupti>& cupti() {
  static const Result<Cupti> loaded = load();
  return loaded;
}

std::string demangled(const char* name) {
  int wrong = 0;
  const std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(name, nullptr, nullptr, &wrong), std::free);
  return wrong == 0 ? text.get() : name;
}

void note(Records& all, const CUpti_Activity* record) {
  const auto add = [&](std::string name, const auto& r) {
    all.work.push_back({std::move(name), 1e-3 * double(r.start), 1e-3 * double(r.end)});
  };
  switch (record->kind) {
    case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL: {
      const auto& k = *reinterpret_cast<const CUpti_ActivityKernel5*>(record);
      return add(demangled(k.name), k);
    }
    case CUPTI_ACTIVITY_KIND_MEMCPY:
      return add("[copy]", *reinterpret_cast<const CUpti_ActivityMemcpy4*>(record));
    case CUPTI_ACTIVITY_KIND_MEMSET:
      return add("[fill]", *reinterpret_cast<const CUpti_ActivityMemset3*>(record));
    default:
      return;
  }
}

void CUPTIAPI give_buffer(uint8_t** buffer, size_t* bytes, size_t* most) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, kBufferBytes));
  *bytes = *buffer ? kBufferBytes : 0, *most = 0;
}

void CUPTIAPI take_buffer(CUcontext context, uint32_t stream, uint8_t* buffer, size_t, size_t valid) {
  const Cupti& c = cupti().value();
  Records& all = records();
  const std::lock_guard lock(all.mutex);
  for (CUpti_Activity* record = nullptr; c.next(buffer, valid, &record) == CUPTI_SUCCESS;) note(all, record);
  size_t dropped = 0;
  if (c.dropped(context, stream, &dropped) == CUPTI_SUCCESS) all.dropped += dropped;
  std::free(buffer);
}

Status to_status(CUptiResult r, const char* what) {
  if (r == CUPTI_SUCCESS) return {};
  const char* text = nullptr;
  cupti().value().text_of(r, &text);
  return {Code::kUnsupported, std::string(what) + ": " + (text ? text : "an unknown error")};
}

Result<Cupti> load() {
  SLUICE_ASSIGN_OR_RETURN(Library library, Library::open(kNames, "libcupti.so.13 or .12", "CUPTI"));
  Cupti f{};
  library.find("cuptiActivityRegisterCallbacks", f.register_callbacks)
      .find("cuptiActivityEnable", f.enable)
      .find("cuptiActivityDisable", f.disable)
      .find("cuptiActivityFlushAll", f.flush)
      .find("cuptiActivityGetNextRecord", f.next)
      .find("cuptiActivityGetNumDroppedRecords", f.dropped)
      .find("cuptiGetResultString", f.text_of);
  SLUICE_RETURN_IF_ERROR(library.complete("libcupti"));
  return f;
}

}  // namespace

Status start_tracing() {
  if (!cupti().ok()) return cupti().status();
  const Cupti& c = cupti().value();
  SLUICE_RETURN_IF_ERROR(to_status(c.register_callbacks(give_buffer, take_buffer), "CUPTI's buffers"));
  for (const CUpti_ActivityKind kind : kKinds) SLUICE_RETURN_IF_ERROR(to_status(c.enable(kind), "CUPTI's records"));
  return {};
}

void stop_tracing() {
  for (const CUpti_ActivityKind kind : kKinds) cupti().value().disable(kind);
}

Result<std::vector<DeviceWork>> take_trace() {
  SLUICE_RETURN_IF_ERROR(to_status(cupti().value().flush(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED), "CUPTI's records"));
  Records& all = records();
  const std::lock_guard lock(all.mutex);
  if (const size_t dropped = std::exchange(all.dropped, 0); dropped > 0)
    return Status(Code::kDevice, "CUPTI lost " + std::to_string(dropped) + " records of the GPU's work");
  std::vector<DeviceWork> work = std::exchange(all.work, {});
  std::ranges::sort(work, {}, &DeviceWork::begin);
  return work;
}

}  // namespace sluice::cuda
#endif
