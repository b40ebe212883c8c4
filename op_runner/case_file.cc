#include "op_runner/case_file.h"

#include <filesystem>

#include "io/json.h"

namespace sluice {

Result<CaseFile> open_case(const std::string& path) {
  SLUICE_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::open(path));
  CaseFile c{std::move(file), {}, {}};
  for (const auto& name : c.file.names()) {
    if (name.starts_with("in.")) c.in[name.substr(3)] = *c.file.find(name);
    else if (name.starts_with("out.")) c.out[name.substr(4)] = *c.file.find(name);
    else c.in[name] = *c.file.find(name);
  }
  return c;
}

Result<boost::json::object> load_case_list(const std::string& path) {
  constexpr size_t kCap = size_t(64) << 20;  // bytes
  SLUICE_ASSIGN_OR_RETURN(const std::string text, read_small_file(path, kCap));
  SLUICE_ASSIGN_OR_RETURN(boost::json::value v, parse_json(text, path));
  if (!v.is_object() || !v.as_object().contains("cases") || !v.at("cases").is_array())
    return bad_file(path + ": has no list 'cases'");
  return std::move(v.as_object());
}

Result<boost::json::object> params_of_case(const std::string& case_path) {
  namespace fs = std::filesystem;
  const fs::path file = fs::path(case_path), folder = file.parent_path();
  for (const fs::path& where : {folder, folder / ".."}) {
    std::error_code ec;
    if (!fs::exists(where / "cases.json", ec)) continue;
    SLUICE_ASSIGN_OR_RETURN(const boost::json::object list, load_case_list((where / "cases.json").string()));
    for (const auto& c : list.at("cases").as_array()) {
      const auto* listed = c.is_object() ? c.as_object().if_contains("file") : nullptr;
      if (listed && listed->is_string() && fs::equivalent(where / std::string(listed->as_string()), file, ec))
        return c.at("params").as_object();
    }
  }
  return boost::json::object();
}

}  // namespace sluice
