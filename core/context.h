// What every operator gets first: where it runs, with which threads, in which memory, on which CPU.
#pragma once

#include <memory>

#include "base/cpu_features.h"
#include "base/environment.h"
#include "core/buffer.h"
#include "core/device.h"
#include "core/thread_team.h"

namespace sluice {

// An ordered queue of work. On the CPU work is done when the call returns.
struct Stream {
  void* handle = nullptr;  // cudaStream_t on a GPU
};

struct Context {
  Device device{};
  Stream stream{};
  Arena* arena = nullptr;
  ThreadTeam* team = nullptr;
  const CpuFeatures* cpu = nullptr;
  const ImplChoices* forced = nullptr;  // never null; empty when the user forces nothing
};

// Owns what a Context points to.
class CpuRuntime {
 public:
  static Result<std::unique_ptr<CpuRuntime>> create(int threads, ImplChoices forced = {});
  Context context() { return {{}, {}, &arena_, &team_, &cpu_, &forced_}; }
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
