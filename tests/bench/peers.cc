#include "tests/bench/peers.h"

#include <filesystem>

#include "io/json.h"
#include "tests/bench/report.h"

namespace sluice::benching {

Result<Peers> read_peers(const std::string& path) {
  constexpr size_t kCap = size_t(1) << 24;  // bytes
  SLUICE_ASSIGN_OR_RETURN(const std::string text, read_small_file(path, kCap));
  SLUICE_ASSIGN_OR_RETURN(const boost::json::value v, parse_json(text, path));
  try {
    Peers peers{.device = std::string(v.at("device").as_string())};
    for (const auto& cell : v.at("cells").as_array())
      for (const auto& [name, us] : cell.at("us").as_object()) {
        Peers::Best& best = peers.best[std::string(cell.at("cell").as_string())];
        if (us.is_number() && (best.us == 0 || us.to_number<double>() < best.us))
          best = {std::string(name), us.to_number<double>()};
      }
    return peers;
  } catch (const std::exception& e) {  // a key that is missing or of another type
    return bad_file(path + ": is no file of peers' times: " + e.what(), "write it with tools/bench_peers.py");
  }
}

std::string default_peers_path(const std::string& device) {
  namespace fs = std::filesystem;
  std::error_code ec;
  const fs::path program = fs::read_symlink("/proc/self/exe", ec);
  for (fs::path up = program.parent_path(); !ec && !up.empty(); up = up.parent_path()) {
    const fs::path file = up / "docs/performance" / ("peers-" + device_file_name(device) + ".json");
    if (fs::exists(file, ec)) return file.string();
    if (up == up.root_path()) break;
  }
  return {};
}

}  // namespace sluice::benching
