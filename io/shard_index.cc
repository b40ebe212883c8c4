#include "io/shard_index.h"

#include "io/json.h"
#include "io/quote.h"

namespace sluice {
namespace {

Status check_shard_name(const std::string& name, const std::string& where) {
  const bool plain =
      !name.empty() && name != "." && name != ".." && name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
  if (plain) return {};
  return bad_file(where + " is " + quote(name) + ", wanted the name of a file in the same folder");
}

}  // namespace

Result<ShardOf> parse_shard_index(std::string_view text, const std::string& where) {
  SLUICE_ASSIGN_OR_RETURN(const boost::json::value root, parse_json(text, where));
  const boost::json::object* object = root.if_object();
  const boost::json::value* map = object ? object->if_contains("weight_map") : nullptr;
  if (!map || !map->is_object() || map->get_object().empty())
    return bad_file(where + ": weight_map is missing, empty or not an object, wanted {tensor: shard, ...}");
  ShardOf shard_of;
  for (const auto& entry : map->get_object()) {
    const std::string tensor(entry.key());
    const std::string shard_where = where + ": shard of tensor " + quote(tensor);
    const boost::json::string* shard = entry.value().if_string();
    if (!shard) return bad_file(shard_where + " is not text, wanted a file name");
    const std::string name(shard->data(), shard->size());
    SLUICE_RETURN_IF_ERROR(check_shard_name(name, shard_where));
    shard_of[tensor] = name;
  }
  return shard_of;
}

}  // namespace sluice
