// model.safetensors.index.json: its text.
#include "io/shard_index.h"

#include <filesystem>

#include "io/json.h"
#include "tests/fuzz/fuzz.h"

namespace sluice::fuzz {

void fuzz_one(std::string_view text) {
  const auto shards = parse_shard_index(text, "index");
  if (!shards.ok()) return check_refusal(shards.status(), "index");
  const auto json = parse_json(text, "index");
  SLUICE_HOLDS(json.ok());
  const auto& map = json->as_object().at("weight_map").as_object();
  SLUICE_HOLDS(!map.empty() && map.size() == shards->size());
  const std::filesystem::path folder = "/models/m";
  for (const auto& [tensor, shard] : *shards) {
    SLUICE_HOLDS(map.at(tensor).as_string() == shard);
    SLUICE_HOLDS(shard.find('\0') == std::string::npos);
    const std::filesystem::path path = (folder / shard).lexically_normal();
    SLUICE_HOLDS(path.parent_path() == folder && path.filename() == shard, path.string());
  }
}

}  // namespace sluice::fuzz
