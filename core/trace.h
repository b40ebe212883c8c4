// What a device does and when, for a table of where a step's time goes.
#pragma once

#include <string>
#include <vector>

#include "core/context.h"

namespace sluice {

// A kernel or a copy; microseconds of the device's clock. A kernel that was started early counts its wait for the one before it.
struct DeviceWork {
  std::string name;  // a kernel's, demangled, or "[copy]", "[fill]"
  double begin = 0, end = 0;
};

// While it lives, the GPU's work is recorded by CUPTI, which is loaded when the first trace starts and slows launches down. Graphs
// made before are seen as they were then: record them anew. One at a time in a process.
class Trace {
 public:
  // kUnsupported, with the reason, on the CPU and where CUPTI is not found.
  static Result<Trace> start(Context& ctx);
  Trace(Trace&& o) noexcept : ctx_(std::exchange(o.ctx_, nullptr)) {}
  Trace& operator=(Trace&&) = delete;
  ~Trace();

  // Waits for the device: all that it did since the last call, in order of beginning.
  Result<std::vector<DeviceWork>> take();

 private:
  explicit Trace(Context& ctx) : ctx_(&ctx) {}
  Context* ctx_;
};

}  // namespace sluice
