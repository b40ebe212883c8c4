// The model that the engine's tests compute with: the demo model, or, under ThreadSanitizer, a small one with random weights. There
// each load is a call, most loads are of weights, and the threads share the work of both in the same way.
#pragma once

#include <cstdint>

namespace sluice::testing {

struct TestModel {
  const char* path;
  bool random_weights;
  int64_t vocab;
};

#if defined(__SANITIZE_THREAD__)
inline constexpr TestModel kTestModel{SLUICE_TEST_DATA "/configs/tiny.json", true, 512};
#else
inline constexpr TestModel kTestModel{SLUICE_SOURCE_DIR "/demo/model", false, 2048};
#endif

}  // namespace sluice::testing
