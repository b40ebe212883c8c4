// The table of a run on a GPU.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "base/status.h"
#include "core/gpu.h"

namespace sluice::benching {

// One form on one case. Zero: not known.
struct Row {
  std::string op, label, form;
  std::string error;      // why there are no figures; such a row fails the run
  std::string checked;    // what the outputs were compared with
  double difference = 0;  // relative RMS, over all outputs
  double us = 0, gbs = 0, tflops = 0;
  double plain_us = 0, warm_us = 0, warm_plain_us = 0;  // without dependent launches; with inputs in the L2 cache; both
  double floor_us = 0;
  std::string peer;  // the fastest of the peers, and its time
  double peer_us = 0;
  size_t workspace = 0, state = 0;    // bytes
  double first_us = 0, tenth_us = 0;  // from launch to the end of the first and the tenth call
};

struct Run {
  Gpu gpu;
  std::string date;  // UTC
  double l2_mb = 0;
  std::vector<Row> rows;
};

// A device's name as files in docs/performance carry it: "NVIDIA H200" is nvidia-h200.
std::string device_file_name(const std::string& device);

// `format`: md, json or csv.
void print(const Run& run, const std::string& format, std::FILE* out);
// The table and the figures as FOLDER/DEVICE-DATE[-OPERATORS].md and .json; returns the path without its ending.
Result<std::string> save(const Run& run, const std::vector<std::string>& ops, const std::string& folder);
// Shares of the floor, as bars.
Status plot(const Run& run, const std::string& path);

}  // namespace sluice::benching
