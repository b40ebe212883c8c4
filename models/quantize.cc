#include "models/quantize.h"

#include <unistd.h>

#include <array>
#include <boost/json/serialize.hpp>
#include <deque>
#include <filesystem>

#include "io/atomic_file.h"
#include "io/json.h"
#include "io/mapped_file.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

using Named = std::pair<std::string, Tensor>;
using Shape = std::array<int64_t, 2>;
constexpr std::string_view kTable = "embed_tokens", kHead = "lm_head", kWeight = ".weight";

// A folder that gets its name when it is whole, and goes where it does not.
class NewFolder {
 public:
  static Result<NewFolder> create(const std::string& path) {
    std::error_code error;
    if (fs::exists(fs::symlink_status(path, error)))
      return invalid(path + ": is there already", "name a folder that is not there yet");
    NewFolder f(path);
    if (!fs::create_directory(f.temporary_, error))
      return Status(Code::kIo, path + ": cannot create: " + (error ? error.message() : "the temporary folder is there already"));
    return f;
  }
  NewFolder(NewFolder&& o) noexcept : path_(o.path_), temporary_(std::exchange(o.temporary_, {})) {}
  NewFolder& operator=(NewFolder&&) = delete;
  ~NewFolder() {
    std::error_code ignored;
    if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
  }
  std::string operator/(const std::string& name) const { return temporary_ + "/" + name; }
  Status commit() {
    std::error_code error;
    fs::rename(temporary_, path_, error);  // does not replace a folder that has something in it
    if (error) return {Code::kIo, path_ + ": cannot give the finished folder this name: " + error.message()};
    temporary_.clear();
    return {};
  }

 private:
  explicit NewFolder(const std::string& path) : path_(path), temporary_(path) {
    while (temporary_.size() > 1 && temporary_.back() == '/') temporary_.pop_back();
    temporary_ += ".tmp-" + std::to_string(::getpid());
  }
  std::string path_, temporary_;
};

Status copy_text(const std::string& from, const std::string& to) {
  SLUICE_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(from));
  SLUICE_ASSIGN_OR_RETURN(AtomicFile copy, AtomicFile::create(to));
  SLUICE_RETURN_IF_ERROR(copy.append(file.bytes().data(), file.bytes().size()));
  return copy.commit();
}

Status write_text(const std::string& text, const std::string& to) {
  SLUICE_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(to));
  SLUICE_RETURN_IF_ERROR(file.append(text.data(), text.size()));
  return file.commit();
}

// Tokenizer, templates, defaults: all texts but those that are written anew.
bool is_copied(const fs::path& file) {
  const std::string name = file.filename(), type = file.extension();
  if (name == "config.json" || name.ends_with(".index.json")) return false;
  return type == ".json" || type == ".jinja" || type == ".txt" || type == ".model";
}

Status copy_texts(const std::string& from, const NewFolder& to) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(from, error))
    if (entry.is_regular_file(error) && is_copied(entry.path()))
      SLUICE_RETURN_IF_ERROR(copy_text(entry.path(), to / entry.path().filename()));
  return error ? Status(Code::kIo, from + ": cannot list: " + error.message()) : Status();
}

// A matrix's tensors in compressed-tensors' names.
void put_quantized(const std::string& module, const Weight& w, std::vector<Named>& out, std::deque<Shape>& shapes) {
  if (w.values.dtype == DType::kI8) {
    out.emplace_back(module + ".weight", w.values);
  } else {
    shapes.push_back({w.rows(), quantised_depth(w.values)});
    out.emplace_back(module + ".weight_packed", w.values);
    out.emplace_back(module + ".weight_shape", Tensor(shapes.back().data(), DType::kI64, {2}));
  }
  out.emplace_back(module + ".weight_scale", w.scale);
}

json::object weights_of(const WeightScheme& s) {
  json::object w{{"num_bits", s.codes == CodeType::kInt8 ? 8 : 4}, {"type", "int"}, {"symmetric", true}, {"dynamic", false}};
  w["strategy"] = s.group == 0 ? "channel" : "group";
  if (s.group > 0) w["group_size"] = s.group;
  return w;
}

std::string format_of(const WeightScheme& s, bool activations) {
  return s.codes == CodeType::kInt4 ? "pack-quantized" : activations ? "int-quantized" : "naive-quantized";
}

json::object group_of(const WeightScheme& s, json::array targets, bool activations) {
  json::object group{{"targets", std::move(targets)}, {"weights", weights_of(s)}};
  group["input_activations"] = nullptr;
  if (activations)
    group["input_activations"] = {{"num_bits", 8}, {"type", "int"}, {"symmetric", true}, {"dynamic", true}, {"strategy", "token"}};
  group["output_activations"] = nullptr;
  return group;
}

// A module's name by its kind, for whichever model has it at whatever depth.
std::string pattern_of(std::string_view name) { return "re:.*" + std::string(name) + "$"; }

// Readers that multiply int8 by int8 want to be told that activations are to be quantised; those of an embedding are ids.
json::object quantization_config(const Quantize& how, json::array ignored) {
  const bool int8 = how.layers.codes == CodeType::kInt8;
  json::object groups;
  json::array linear{"Linear"};
  std::string format = format_of(how.layers, int8);
  const bool alike = how.table == how.layers;
  if (how.table && alike && !int8) linear.emplace_back(pattern_of(kTable));
  if (how.table && (!alike || int8)) {
    json::array targets{pattern_of(kTable)};
    if (!alike) targets.emplace_back(pattern_of(kHead));
    groups["group_table"] = group_of(*how.table, std::move(targets), false);
  }
  groups["group_0"] = group_of(how.layers, std::move(linear), int8);
  if (how.table && !alike) {
    groups["group_table"].as_object()["format"] = format_of(*how.table, false);
    groups["group_0"].as_object()["format"] = std::exchange(format, "mixed-precision");
  }
  return {{"quant_method", "compressed-tensors"}, {"format", format},
          {"quantization_status", "compressed"},  {"config_groups", groups},
          {"ignore", std::move(ignored)},         {"kv_cache_scheme", nullptr},
          {"global_compression_ratio", nullptr}};
}

// Matrices that are not quantised, by their modules' names.
json::array modules_left(const std::vector<Named>& tensors, bool tied) {
  json::array left;
  if (tied) left.emplace_back(kHead);
  for (const auto& [name, t] : tensors)
    if (name.ends_with(kWeight) && t.rank == 2 && t.dtype != DType::kI8)
      left.emplace_back(name.substr(0, name.size() - kWeight.size()));
  return left;
}

Status write_config(const std::string& from, const std::string& to, json::object quantization) {
  constexpr size_t kCap = 1 << 20;  // bytes, as for reading a model's config
  SLUICE_ASSIGN_OR_RETURN(const std::string text, read_small_file(from, kCap));
  SLUICE_ASSIGN_OR_RETURN(json::value config, parse_json(text, from));
  config.as_object()["quantization_config"] = std::move(quantization);
  return write_text(json::serialize(config) + "\n", to);
}

// How many tensors each file gets.
std::vector<size_t> shard(const std::vector<Named>& tensors, size_t most) {
  std::vector<size_t> counts{0};
  size_t bytes = 0;
  for (const auto& [name, t] : tensors) {
    if (counts.back() > 0 && bytes + t.bytes() > most) counts.push_back(0), bytes = 0;
    ++counts.back(), bytes += t.bytes();
  }
  return counts;
}

std::string shard_name(size_t i, size_t count) {
  const auto five = [](size_t n) {
    return std::string(5 - std::min<size_t>(5, std::to_string(n).size()), '0') + std::to_string(n);
  };
  return count == 1 ? "model.safetensors" : "model-" + five(i + 1) + "-of-" + five(count) + ".safetensors";
}

Status write_tensors(const QuantizeFiles& o, const std::vector<Named>& tensors, size_t all, const NewFolder& to) {
  const std::vector<size_t> counts = shard(tensors, o.shard_bytes);
  json::object places;
  size_t first = 0, done = 0;
  const auto show = [&](size_t bytes) {
    done += bytes;
    if (o.show_writing) o.show_writing(done, all);
  };
  for (size_t i = 0; i < counts.size(); ++i) {
    const std::string name = shard_name(i, counts.size());
    const std::span<const Named> part = std::span(tensors).subspan(first, counts[i]);
    SLUICE_RETURN_IF_ERROR(write_safetensors(to / name, part, {{"format", "pt"}}, show));
    for (const auto& [tensor, t] : part) places[tensor] = name;
    first += counts[i];
  }
  if (counts.size() == 1) return {};
  const json::object index{{"metadata", {{"total_size", all}}}, {"weight_map", std::move(places)}};
  return write_text(json::serialize(index) + "\n", to / "model.safetensors.index.json");
}

Status check_space(const std::string& to, size_t bytes) {
  std::error_code error;
  const fs::path parent = fs::absolute(to, error).parent_path();
  const fs::space_info space = fs::space(parent, error);
  if (error || space.available >= bytes) return {};
  const auto mb = [](size_t n) { return std::to_string(n / 1'000'000) + " MB"; };
  return {Code::kResourceExhausted, to + ": needs " + mb(bytes) + ", the disk has " + mb(space.available) + " left",
          "free some space"};
}

}  // namespace

Quantize quantize_as(CodeType codes, int64_t group, bool keep_table) {
  Quantize q{.layers = {codes, group}};
  // With 4 bits the table alone doubles the divergence (docs/performance/quantised-weights.md).
  if (!keep_table) q.table = WeightScheme{CodeType::kInt8, group};
  return q;
}

Status write_quantized(const QuantizeFiles& o) {
  SLUICE_ASSIGN_OR_RETURN(NewFolder folder, NewFolder::create(o.to));
  SLUICE_ASSIGN_OR_RETURN(const ModelConfig config, load_model_config(o.from));
  SLUICE_ASSIGN_OR_RETURN(const Checkpoint original, Checkpoint::open(o.from));
  SLUICE_ASSIGN_OR_RETURN(const LoadedModel model,
                          load_model(o.from, {.where = o.where, .show = o.show_quantizing, .quantize = o.how}));
  std::vector<Named> tensors;
  std::deque<Shape> shapes;
  for (const std::string& name : original.names()) {
    const auto q =
        name.ends_with(kWeight) ? model.quantized.find(name.substr(0, name.size() - kWeight.size())) : model.quantized.end();
    if (q == model.quantized.end()) tensors.emplace_back(name, *original.find(name));
    else put_quantized(q->first, q->second, tensors, shapes);
  }
  size_t bytes = 0;
  for (const auto& [name, t] : tensors) bytes += t.bytes();
  SLUICE_RETURN_IF_ERROR(check_space(o.to, bytes));
  SLUICE_RETURN_IF_ERROR(write_tensors(o, tensors, bytes, folder));
  json::array left = modules_left(tensors, config.tie_word_embeddings);
  SLUICE_RETURN_IF_ERROR(
      write_config(o.from + "/config.json", folder / "config.json", quantization_config(o.how, std::move(left))));
  SLUICE_RETURN_IF_ERROR(copy_texts(o.from, folder));
  return folder.commit();
}

}  // namespace sluice
