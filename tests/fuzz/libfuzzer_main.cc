// The entry of libFuzzer, which has the main().
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sluice::fuzz::fuzz_one({reinterpret_cast<const char*>(data), size});
  return 0;
}
