// Quantised copies of checkpoints, in compressed-tensors' format, and what is quantised in which way.
#pragma once

#include <functional>
#include <string>

#include "models/model.h"

namespace sluice {

// What int8 or int4 makes of a model. group: neighbouring columns with one scale; 0: whole rows.
Quantize quantize_as(CodeType codes, int64_t group, bool keep_table = false);

struct QuantizeFiles {
  std::string from, to;  // folders; `to` is not there yet
  Quantize how;
  size_t shard_bytes = 5'000'000'000;  // at most in one file, but for a tensor that is larger
  Context where = {};                  // of the CPU; with a team and an arena
  LoadProgress show_quantizing, show_writing;
};

// The folder appears when all of it is written. Tensors that are not quantised, and the files that belong to a model, are copied.
Status write_quantized(const QuantizeFiles& files);

}  // namespace sluice
