// Work that comes again and again with other data in the same places. On a GPU it is recorded as a CUDA graph when it comes for the
// second time and replayed from then on, which takes the host out of the way: a step of small kernels is otherwise bound by their
// launches. On the CPU it is simply done.
#pragma once

#include <algorithm>
#include <array>
#include <map>

#include "core/context.h"
#if SLUICE_HAS_CUDA
#include "core/cuda/graph.h"
#endif

namespace sluice {

// Out: what the work returns, whatever lies in the arena included.
template <class Out>
class Replays {
 public:
  // All that the work's launches and places depend on, beside the arena's mark.
  using Key = std::array<int64_t, 9>;

  static bool records([[maybe_unused]] const Context& ctx) {
#if SLUICE_HAS_CUDA
    return ctx.device.kind == DeviceKind::kCuda;
#else
    return false;
#endif
  }

  // work() launches the same kernels on the same places whenever the key is the same, waits for nothing, and takes from the host
  // nothing that changes.
  template <class Work>
  Result<Out> run([[maybe_unused]] Context& ctx, [[maybe_unused]] const Key& key, Work&& work) {
#if SLUICE_HAS_CUDA
    if (records(ctx)) return run_on_gpu(ctx, key, work);
#endif
    return work();
  }

  // How many are kept.
  int64_t recordings() const {
#if SLUICE_HAS_CUDA
    return std::ranges::count_if(recordings_, [](const auto& r) { return r.second.recorded; });
#else
    return 0;
#endif
  }
  // Forgets all recordings.
  void clear() {
#if SLUICE_HAS_CUDA
    recordings_.clear();
#endif
  }

#if SLUICE_HAS_CUDA
 private:
  static constexpr size_t kMost = 256;  // recordings; of each a GPU keeps about 5 KB a kernel, and 2 MB in all of 400 kernels

  struct Recording {
    bool seen = false, recorded = false;
    cuda::Graph graph;
    Out out{};
    size_t arena_after = 0;
  };

  template <class Work>
  Result<Out> run_on_gpu(Context& ctx, const Key& key, Work& work) {
    if (recordings_.size() >= kMost && !recordings_.contains({key, ctx.arena->used()})) recordings_.clear();
    Recording& r = recordings_[{key, ctx.arena->used()}];
    if (!std::exchange(r.seen, true)) return work();  // what is made once, such as a library's plans, is made here
    if (!r.recorded) {
      SLUICE_ASSIGN_OR_RETURN(r.graph, cuda::Graph::capture(ctx, [&]() -> Status {
                                SLUICE_ASSIGN_OR_RETURN(r.out, work());
                                r.arena_after = ctx.arena->used();
                                return {};
                              }));
      r.recorded = true;
    }
    SLUICE_RETURN_IF_ERROR(r.graph.launch(ctx));
    ctx.arena->rewind(r.arena_after);
    return r.out;
  }

  std::map<std::pair<Key, size_t>, Recording> recordings_;
#endif
};

}  // namespace sluice
