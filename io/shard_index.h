// model.safetensors.index.json: which file has which tensor.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/status.h"

namespace sluice {

using ShardOf = std::map<std::string, std::string>;  // tensor -> name of its file, which lies in the index's folder

// `where` begins every message.
Result<ShardOf> parse_shard_index(std::string_view text, const std::string& where);

}  // namespace sluice
