// What every operator gets first: where it runs, with which threads, in which memory, on which CPU or GPU.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/cpu_features.h"
#include "base/environment.h"
#include "core/buffer.h"
#include "core/device.h"
#include "core/gpu.h"
#include "core/thread_team.h"

namespace sluice {

// An ordered queue of work. On the CPU work is done when the call returns.
struct Stream {
  void* handle = nullptr;  // cudaStream_t on a GPU; null is its default stream
};

// Calls that went to another implementation than the one chosen for their operator, for warnings and metrics.
struct Fallback {
  const char *op, *ran, *reason;  // constant texts
  std::string wanted;
  int64_t calls = 0;
};

namespace cuda {
class KernelTable;
class UploadRing;
}  // namespace cuda

struct Context {
  Device device{};
  Stream stream{};
  Arena* arena = nullptr;  // memory of the device
  ThreadTeam* team = nullptr;
  const CpuFeatures* cpu = nullptr;
  const Gpu* gpu = nullptr;                    // null on the CPU
  cuda::KernelTable* kernels = nullptr;        // what launches know of kernels; null: asked at every launch
  cuda::UploadRing* uploads = nullptr;         // by which upload() need not wait; null: it may
  const PdlChoice* pdl = nullptr;              // operators whose kernels may start while the one before them ends; null: all
  bool dependent_launch = true;                // the same of the operator in hand: dispatch() sets it
  const ImplChoices* forced = nullptr;         // never null; empty when the user forces nothing
  const TileChoices* tiles = nullptr;          // null: the user asks for none
  std::vector<Fallback>* fallbacks = nullptr;  // where calls are counted that a choice could not serve; null: nowhere
};

// Owns what a Context points to.
class CpuRuntime {
 public:
  static Result<std::unique_ptr<CpuRuntime>> create(int threads, ImplChoices forced = {});
  Context context() { return {.arena = &arena_, .team = &team_, .cpu = &cpu_, .forced = &forced_}; }
  const CpuFeatures& cpu() const { return cpu_; }
  int threads() const { return team_.size(); }

 private:
  CpuRuntime(int threads, CpuFeatures cpu, Arena arena, ImplChoices forced)
      : cpu_(std::move(cpu)), arena_(std::move(arena)), team_(threads), forced_(std::move(forced)) {}
  CpuFeatures cpu_;
  Arena arena_;
  ThreadTeam team_;
  ImplChoices forced_;
};

}  // namespace sluice
