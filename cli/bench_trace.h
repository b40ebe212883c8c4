// sluice bench --trace: what steps on a GPU consist of.
#pragma once

#include <string>

#include "engine/engine.h"

namespace sluice::cli {

struct TraceOptions {
  std::string title, format, plot;  // format: md, json or csv; plot: an SVG file, or empty
  int64_t prompt = 0, depth = 0, batch = 1;
};

// A step that reads `prompt` tokens, one that adds a token to each of `batch` sequences, and one of both for batch > 1; 0 tokens:
// only the second. All behind `depth` tokens.
Status trace_steps(Engine& engine, const TraceOptions& o);

}  // namespace sluice::cli
