#include "tests/bench/report.h"

#include <fmt/core.h>

#include <boost/json.hpp>
#include <cctype>

#include "cli/plot.h"
#include "core/backend.h"

namespace sluice::benching {
namespace {

double share_of_floor(const Row& r) { return r.us > 0 ? 100 * r.floor_us / r.us : 0; }
double times_peer(const Row& r) { return r.us > 0 ? r.peer_us / r.us : 0; }

// A figure, or a dash where it is not known.
std::string figure(double x, const char* format) { return x > 0 ? fmt::format(fmt::runtime(format), x) : "-"; }

void print_md(const Run& run, std::FILE* out) {
  fmt::print(out, "{}, compute capability {}.{}, {} SMs, CUDA {}, {}. Median of CUDA-graph replays over cold inputs.\n\n",
             run.gpu.name, run.gpu.major, run.gpu.minor, run.gpu.sms, cuda_version_text(run.gpu.cuda_version), run.date);
  fmt::print(out,
             "| operator | case | form | us | plain us | warm us | warm plain us | GB/s | TFLOP/s | % of floor | best peer us | "
             "times peer | checked | difference | "
             "workspace MB | state "
             "MB | first us | tenth us |\n");
  fmt::print(out,
             "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | "
             "---: |\n");
  for (const Row& r : run.rows) {
    if (!r.error.empty()) {
      fmt::print(out, "| {} | {} | {} | FAILED: {} |\n", r.op, r.label, r.form, r.error);
      continue;
    }
    fmt::print(out, "| {} | {} | {} | {:.2f} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.1e} | {} | {} | {:.1f} | {:.1f} |\n",
               r.op, r.label, r.form, r.us, figure(r.plain_us, "{:.2f}"), figure(r.warm_us, "{:.2f}"),
               figure(r.warm_plain_us, "{:.2f}"), figure(r.gbs, "{:.0f}"), figure(r.tflops, "{:.1f}"),
               figure(share_of_floor(r), "{:.1f}"), r.peer_us > 0 ? fmt::format("{:.1f} {}", r.peer_us, r.peer) : "-",
               figure(times_peer(r), "{:.2f}"), r.checked, r.difference, figure(double(r.workspace) / 1e6, "{:.2f}"),
               figure(double(r.state) / 1e6, "{:.2f}"), r.first_us, r.tenth_us);
  }
}

void print_csv(const Run& run, std::FILE* out) {
  fmt::print(out,
             "operator,case,form,us,plain_us,warm_us,warm_plain_us,gb_per_s,tflop_per_s,floor_us,peer,peer_us,checked,difference,"
             "workspace_bytes,state_bytes,"
             "first_us,tenth_us,"
             "error\n");
  for (const Row& r : run.rows)
    fmt::print(out,
               "{},\"{}\",{},{:.3f},{:.3f},{:.3f},{:.3f},{:.1f},{:.2f},{:.3f},{},{:.2f},{},{:.3e},{},{},{:.2f},{:.2f},\"{}\"\n",
               r.op, r.label, r.form, r.us, r.plain_us, r.warm_us, r.warm_plain_us, r.gbs, r.tflops, r.floor_us, r.peer, r.peer_us,
               r.checked, r.difference, r.workspace, r.state, r.first_us, r.tenth_us, r.error);
}

void print_json(const Run& run, std::FILE* out) {
  boost::json::array rows;
  for (const Row& r : run.rows) {
    boost::json::object o{{"op", r.op}, {"case", r.label}, {"form", r.form}};
    if (!r.error.empty()) {
      o["error"] = r.error;
      rows.push_back(std::move(o));
      continue;
    }
    if (r.plain_us > 0) o["plain_us"] = r.plain_us, o["warm_us"] = r.warm_us, o["warm_plain_us"] = r.warm_plain_us;
    o["us"] = r.us, o["gb_per_s"] = r.gbs, o["tflop_per_s"] = r.tflops;
    o["floor_us"] = r.floor_us, o["checked"] = r.checked, o["difference"] = r.difference;
    if (r.peer_us > 0) o["peer"] = r.peer, o["peer_us"] = r.peer_us;
    o["workspace_bytes"] = r.workspace, o["state_bytes"] = r.state, o["first_us"] = r.first_us, o["tenth_us"] = r.tenth_us;
    rows.push_back(std::move(o));
  }
  const boost::json::object all{{"device", run.gpu.name},
                                {"compute_capability", fmt::format("{}.{}", run.gpu.major, run.gpu.minor)},
                                {"sms", run.gpu.sms},
                                {"cuda", cuda_version_text(run.gpu.cuda_version)},
                                {"date", run.date},
                                {"l2_mb", run.l2_mb},
                                {"rows", rows}};
  fmt::print(out, "{}\n", boost::json::serialize(all));
}

std::string file_name(const Run& run, const std::vector<std::string>& ops) {
  std::string name = device_file_name(run.gpu.name) + "-" + run.date;
  constexpr size_t kMostNamed = 4;  // beyond them a name says no more
  if (ops.size() > kMostNamed) return name + "-" + std::to_string(ops.size()) + "-operators";
  for (const std::string& op : ops) name += "-" + op;
  return name;
}

}  // namespace

std::string device_file_name(const std::string& device) {
  std::string name;
  for (const char c : device)
    name += std::isalnum(static_cast<unsigned char>(c)) ? char(std::tolower(static_cast<unsigned char>(c))) : '-';
  return name;
}

void print(const Run& run, const std::string& format, std::FILE* out) {
  if (format == "json") print_json(run, out);
  else if (format == "csv") print_csv(run, out);
  else print_md(run, out);
}

Result<std::string> save(const Run& run, const std::vector<std::string>& ops, const std::string& folder) {
  const std::string path = folder + "/" + file_name(run, ops);
  for (const char* format : {"md", "json"}) {
    std::FILE* f = std::fopen((path + "." + format).c_str(), "w");
    if (f) print(run, format, f);
    if (!f || std::fclose(f) != 0)
      return Status(Code::kIo, path + "." + format + ": cannot be written", "give --save a folder that exists");
  }
  return path;
}

Status plot(const Run& run, const std::string& path) {
  std::vector<cli::Bar> bars;
  for (const Row& r : run.rows)
    if (r.error.empty() && r.floor_us > 0) bars.push_back({r.op + " " + r.label + " " + r.form, share_of_floor(r), 0});
  return cli::write_bar_chart(path, run.gpu.name + ", " + run.date + ": % of the floor", bars);
}

}  // namespace sluice::benching
