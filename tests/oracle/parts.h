// The parts of a folder of reference data, one a file. The format is described in docs/oracles.md.
#pragma once

#include <set>
#include <string>

#include "core/device.h"
#include "tests/oracle/report.h"

namespace sluice {

struct OracleOptions {
  std::string folder;
  std::string only;              // checks whose name contains this
  std::set<std::string> dtypes;  // "fp32", "bf16"
  Device device;
  int threads = 0;

  bool wants(const std::string& name) const { return only.empty() || name.find(only) != std::string::npos; }
};

void check_ops(const OracleOptions& o, Report& report);
void check_models(const OracleOptions& o, Report& report);
void check_tokenizer(const OracleOptions& o, Report& report);

}  // namespace sluice
