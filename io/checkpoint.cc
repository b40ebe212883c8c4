#include "io/checkpoint.h"

#include <cstring>
#include <filesystem>
#include <set>

#include "io/json.h"
#include "io/quote.h"
#include "io/shard_index.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;
constexpr size_t kMaxIndexBytes = size_t(64) << 20;  // DeepSeek-V3's index has 9 MB
constexpr size_t kMaxShards = 1000;                  // below the number of mappings that io/mapped_file guards

// tensor -> path of its shard
Result<ShardOf> read_index(const std::string& dir, const std::string& index_path) {
  SLUICE_ASSIGN_OR_RETURN(const std::string text, read_small_file(index_path, kMaxIndexBytes));
  SLUICE_ASSIGN_OR_RETURN(ShardOf shard_of, parse_shard_index(text, index_path));
  for (auto& [tensor, shard] : shard_of) shard = (fs::path(dir) / shard).string();
  return shard_of;
}

}  // namespace

Result<Checkpoint> Checkpoint::open(const std::string& dir) {
  const std::string single = (fs::path(dir) / "model.safetensors").string();
  const std::string index = (fs::path(dir) / "model.safetensors.index.json").string();
  std::error_code ignored;
  const bool has_single = fs::exists(single, ignored), has_index = fs::exists(index, ignored);
  if (!has_single && !has_index)
    return Status(Code::kNotFound, dir + ": has neither model.safetensors nor model.safetensors.index.json",
                  "give the folder of a checkpoint in safetensors format, as Hugging Face publishes them");
  Checkpoint c;
  if (!has_single) {
    SLUICE_RETURN_IF_ERROR(c.open_shards(dir, index));
    return c;
  }
  if (has_index) c.warnings.push_back(index + ": ignored, because model.safetensors is there");
  SLUICE_RETURN_IF_ERROR(c.add_shard(single));
  for (const std::string& name : c.shards_[0].names()) c.tensors_.emplace(name, c.shards_[0].find(name));
  return c;
}

Status Checkpoint::open_shards(const std::string& dir, const std::string& index_path) {
  SLUICE_ASSIGN_OR_RETURN(const ShardOf shard_of, read_index(dir, index_path));
  std::set<std::string> paths;
  for (const auto& [tensor, path] : shard_of) paths.insert(path);
  if (paths.size() > kMaxShards)
    return bad_file(index_path + ": names " + std::to_string(paths.size()) + " shards, wanted at most " +
                    std::to_string(kMaxShards));
  for (const std::string& path : paths) SLUICE_RETURN_IF_ERROR(add_shard(path));
  for (const SafetensorsFile& shard : shards_) SLUICE_RETURN_IF_ERROR(take_listed(shard, shard_of));
  for (const auto& [tensor, path] : shard_of)
    if (!find(tensor)) return bad_file(path + ": lacks tensor " + quote(tensor) + ", which " + index_path + " places there");
  return {};
}

Status Checkpoint::add_shard(const std::string& path) {
  auto shard = SafetensorsFile::open(path);
  if (shard.status().code() == Code::kNotFound)
    return Status(Code::kNotFound, shard.status().message(), "the download is incomplete; fetch the model again");
  if (!shard.ok()) return shard.status();
  shards_.push_back(std::move(shard).value());
  files.push_back(path);
  return {};
}

Status Checkpoint::take_listed(const SafetensorsFile& shard, const ShardOf& shard_of) {
  std::string first_extras;
  size_t extras = 0;
  for (const std::string& name : shard.names()) {
    const auto listed = shard_of.find(name);
    if (listed == shard_of.end()) {
      if (++extras <= 5) first_extras += (extras > 1 ? ", " : "") + quote(name);
    } else if (listed->second != shard.path()) {
      return bad_file(shard.path() + ": has tensor " + quote(name) + ", which the index places in " + listed->second);
    } else {
      tensors_.emplace(name, shard.find(name));
    }
  }
  if (extras)
    warnings.push_back(shard.path() + ": ignored " + std::to_string(extras) +
                       " tensors that the index does not list: " + first_extras + (extras > 5 ? ", ..." : ""));
  return {};
}

const Tensor* Checkpoint::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second;
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> all;
  all.reserve(tensors_.size());
  for (const SafetensorsFile& shard : shards_)
    for (const std::string& name : shard.names())
      if (find(name) == shard.find(name)) all.push_back(name);
  return all;
}

Status Checkpoint::read(const void* place, size_t bytes, std::byte* to) const {
  for (const SafetensorsFile& shard : shards_)
    if (shard.holds(place)) return shard.read(place, bytes, to);
  std::memcpy(to, place, bytes);  // what lay badly in its file
  return {};
}

size_t Checkpoint::total_bytes() const {
  size_t total = 0;
  for (const auto& [name, tensor] : tensors_) total += tensor->bytes();
  return total;
}

}  // namespace sluice
