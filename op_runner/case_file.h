// Cases as files: tensors "in.*" and "out.*" of a safetensors file, parameters in the cases.json one folder up.
#pragma once

#include "io/safetensors.h"
#include "op_runner/op_runner.h"

namespace sluice {

struct CaseFile {
  SafetensorsFile file;
  NamedTensors in, out;  // without their prefixes
};

Result<CaseFile> open_case(const std::string& path);

// cases.json of a folder of operator cases, whole.
Result<boost::json::object> load_case_list(const std::string& path);

// The parameters that the cases.json beside or above a case file lists for it; empty where there is none.
Result<boost::json::object> params_of_case(const std::string& case_path);

}  // namespace sluice
