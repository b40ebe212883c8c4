// fuzz_NAME FOLDER|FILE...: each file through the target once. What does not hold aborts; that nothing was read fails.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "io/json.h"
#include "tests/fuzz/fuzz.h"

namespace fs = std::filesystem;

int main(int argc, char** argv) {
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    if (!fs::is_directory(argv[i])) files.push_back(argv[i]);
    else
      for (const auto& entry : fs::directory_iterator(argv[i])) files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  sluice::fuzz::fuzz_one({});
  for (const std::string& file : files) {
    const auto text = sluice::read_small_file(file, size_t(16) << 20);
    if (!text.ok()) return std::fprintf(stderr, "%s\n", text.status().to_string().c_str()), 1;
    sluice::fuzz::fuzz_one(*text);
  }
  std::printf("%zu inputs\n", files.size());
  return files.empty();
}
