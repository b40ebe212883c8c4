// The weights of a model folder: one model.safetensors, or shards named by model.safetensors.index.json.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "io/safetensors.h"
#include "io/shard_index.h"

namespace sluice {

class Checkpoint {
 public:
  // Symlinks are followed (a Hugging Face cache is made of them), but a shard's name may not leave the folder.
  static Result<Checkpoint> open(const std::string& dir);

  const Tensor* find(std::string_view name) const;  // null when there is none
  std::vector<std::string> names() const;           // shard by shard, each in its file's order
  size_t total_bytes() const;                       // of the tensors in names()
  // Copies bytes of a tensor, out of its file rather than from where it is mapped. From any thread.
  Status read(const void* place, size_t bytes, std::byte* to) const;

  std::vector<std::string> files;     // paths of the shards, sorted
  std::vector<std::string> warnings;  // one line each, for the user

 private:
  Status add_shard(const std::string& path);
  Status take_listed(const SafetensorsFile& shard, const ShardOf& shard_of);
  Status open_shards(const std::string& dir, const std::string& index_path);

  std::vector<SafetensorsFile> shards_;
  std::unordered_map<std::string_view, const Tensor*> tensors_;  // keys and tensors lie in shards_
};

}  // namespace sluice
