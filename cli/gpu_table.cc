#include "cli/gpu_table.h"

#include <cstdio>

#include "io/json.h"
#include "io/json_fields.h"
#include "io/mapped_file.h"

namespace sluice::cli {
namespace {

Result<Gpu> gpu_of(const boost::json::object& entry, const std::string& where) {
  constexpr int64_t kDefaultShared = 48 << 10, kMostShared = 1 << 24;  // bytes a block may have
  Status status;
  const JsonFields fields(entry, where, status);
  Gpu g{.name = fields.text("name", "GPU"),
        .sms = int(fields.integer("sms", 1, 4096, 1)),
        .shared_memory = size_t(fields.integer("shared_memory_bytes", 0, kMostShared, kDefaultShared)),
        .memory = size_t(fields.integer("memory_bytes", 0, int64_t(1) << 50, 0)),
        .cuda_version = build_cuda_version()};
  const std::string capability = fields.text("compute_capability");
  char behind = 0;
  if (status.ok() && std::sscanf(capability.c_str(), "%2d.%1d%c", &g.major, &g.minor, &behind) != 2)
    fields.refuse("compute_capability", "text such as \"9.0\"");
  if (!status.ok()) return status;
  return g;
}

}  // namespace

Result<GpuList> read_gpu_table(const std::string& path) {
  SLUICE_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  SLUICE_ASSIGN_OR_RETURN(const boost::json::value json, parse_json(text, path));
  const auto* list = json.is_object() ? json.as_object().if_contains("gpus") : nullptr;
  if (!list || !list->is_array())
    return Status(Code::kBadFile, path + ": there is no list \"gpus\"", "give what `sluice doctor --json` prints");
  GpuList found;
  for (const auto& entry : list->as_array()) {
    const std::string where = path + ": gpus[" + std::to_string(found.gpus.size()) + "]";
    if (!entry.is_object()) return Status(Code::kBadFile, where + " is no object", "give what `sluice doctor --json` prints");
    SLUICE_ASSIGN_OR_RETURN(Gpu g, gpu_of(entry.as_object(), where));
    found.gpus.push_back(std::move(g));
  }
  if (found.gpus.empty()) found.why_none = path + " lists none";
  return found;
}

}  // namespace sluice::cli
