// Which architecture serves a config.json. A new model is its own file and one line here.
#include "models/qwen3_5.h"

namespace sluice {
namespace {

using Factory = Result<LoadedModel> (*)(const ModelConfig&, WeightSource, DTypeChoice);
struct Entry {
  const char* model_type;
  Factory make;
};
constexpr Entry kModels[] = {
    {"qwen3_5", make_qwen3_5},
    {"qwen3_5_text", make_qwen3_5},
};

Result<LoadedModel> make(const ModelConfig& config, WeightSource source, DTypeChoice dtype) {
  for (const auto& e : kModels)
    if (config.model_type == e.model_type) return e.make(config, std::move(source), dtype);
  return Status(Code::kUnsupported, "config.json: model_type '" + config.model_type + "' has no implementation");
}

}  // namespace

Result<LoadedModel> load_model(const std::string& dir, DTypeChoice dtype, const Context& where, const LoadProgress& show,
                               Group* group) {
  SLUICE_ASSIGN_OR_RETURN(const ModelConfig config, load_model_config(dir));
  SLUICE_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::open(dir));
  auto model = load_model(config, std::move(checkpoint), dtype, where, show, group);
  if (!model.ok()) return model.status().in(dir);
  return model;
}

Result<LoadedModel> load_model(const ModelConfig& config, Checkpoint checkpoint, DTypeChoice dtype, const Context& where,
                               const LoadProgress& show, Group* group) {
  return make(config, WeightSource(std::move(checkpoint), where, group, show), dtype);
}

Result<LoadedModel> random_model(const std::string& config_path, DTypeChoice dtype, const Context& where, Group* group) {
  SLUICE_ASSIGN_OR_RETURN(const ModelConfig config, load_model_config(config_path));
  return make(config, WeightSource(where, group), dtype);
}

}  // namespace sluice
