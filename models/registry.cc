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

// Quantised weights, stored or to be made, are for one process on the CPU.
Status check_quantized(const std::optional<QuantizationConfig>& stored, const LoadOptions& o) {
  if (stored && o.quantize)
    return Status(Code::kUnsupported, "the checkpoint is quantised already", "leave --quantize out, or give the original");
  if (!stored && !o.quantize) return {};
  if (o.where.device.kind != DeviceKind::kCpu)
    return Status(Code::kUnsupported, "quantised weights are multiplied on the CPU only so far", "use --device cpu");
  if (o.group) return Status(Code::kUnsupported, "quantised weights are of one process so far", "leave --tp out");
  return {};
}

}  // namespace

Result<LoadedModel> load_model(const std::string& dir, const LoadOptions& options) {
  SLUICE_ASSIGN_OR_RETURN(const ModelConfig config, load_model_config(dir));
  SLUICE_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::open(dir));
  auto model = load_model(config, std::move(checkpoint), options);
  if (!model.ok()) return model.status().in(dir);
  return model;
}

Result<LoadedModel> load_model(const ModelConfig& config, Checkpoint checkpoint, const LoadOptions& options) {
  SLUICE_RETURN_IF_ERROR(check_quantized(config.quantization, options));
  return make(config, WeightSource(std::move(checkpoint), config.quantization, options), options.dtype);
}

Result<LoadedModel> random_model(const std::string& config_path, const LoadOptions& options) {
  SLUICE_ASSIGN_OR_RETURN(const ModelConfig config, load_model_config(config_path));
  SLUICE_RETURN_IF_ERROR(check_quantized({}, options));
  return make(config, WeightSource(options), options.dtype);
}

}  // namespace sluice
