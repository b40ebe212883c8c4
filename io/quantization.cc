#include "io/quantization.h"

#include <fmt/format.h>

#include <algorithm>

#include "io/quote.h"

namespace sluice {
namespace {

constexpr int64_t kMaxGroup = 1 << 20;

bool matches(const NamePattern& pattern, std::string_view module, ModuleKind kind) {
  return pattern.text() == (kind == ModuleKind::kLinear ? "Linear" : "Embedding") || pattern.matches(module);
}

// Fields that must be absent, or empty objects, since there is no code for what they say.
void refuse_present(const JsonFields& f, std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys)
    if (f.has(key) && !(f.is_object(key) && f.object(key).keys().empty())) f.refuse(key, "none", Code::kUnsupported);
}

void require_text(const JsonFields& f, std::string_view key, std::string_view fallback, std::string_view wanted) {
  const std::string found = f.text(key, std::string(fallback));
  if (found != wanted) f.refuse(key, quote(found), quote(wanted), Code::kUnsupported);
}

std::vector<NamePattern> read_patterns(const JsonFields& f, std::string_view key) {
  std::vector<NamePattern> all;
  for (const std::string& text : f.texts(key)) {
    auto pattern = NamePattern::parse(text);
    if (pattern.ok()) all.push_back(std::move(*pattern));
    else f.refuse(key, "a list where " + pattern.status().message(), "names, or 're:' and a pattern");
  }
  return all;
}

// What activations are made to is the kernels' own affair as long as it is made anew for each row.
void check_activations(const JsonFields& group) {
  if (!group.has("input_activations")) return;
  const JsonFields f = group.object("input_activations");
  if (!f.boolean("dynamic", false)) f.refuse("dynamic", "false", "true: scales found row by row", Code::kUnsupported);
  require_text(f, "type", "int", "int");
  if (const int64_t bits = f.integer("num_bits", 1, 64, 8); bits != 8)
    f.refuse("num_bits", std::to_string(bits), "8", Code::kUnsupported);
}

// `packed`: by the format of the group's file.
WeightScheme read_weights(const JsonFields& f, bool packed) {
  const int64_t bits = f.integer("num_bits", 1, 64, 8), wanted = packed ? 4 : 8;
  if (bits != wanted) f.refuse("num_bits", std::to_string(bits), fmt::format("{} with this format", wanted), Code::kUnsupported);
  require_text(f, "type", "int", "int");
  if (!f.boolean("symmetric", true)) f.refuse("symmetric", "true", Code::kUnsupported);
  if (f.has("actorder") && (!f.is_text("actorder") || (f.text("actorder") != "weight" && f.text("actorder") != "static")))
    f.refuse("actorder", "none, or 'weight': columns in their own order", Code::kUnsupported);
  refuse_present(f, {"block_structure"});
  if (f.has("dynamic") && f.boolean("dynamic", false)) f.refuse("dynamic", "false", Code::kUnsupported);
  const int64_t group = f.integer("group_size", -1, kMaxGroup, -1);
  const std::string strategy = f.text("strategy", group > 0 ? "group" : "channel");
  if (strategy != "group" && strategy != "channel") f.refuse("strategy", quote(strategy), "channel or group", Code::kUnsupported);
  const bool grouped = strategy == "group";
  if (grouped && (group < kQuantGroup || group % kQuantGroup != 0))
    f.refuse("group_size", std::to_string(group), fmt::format("a multiple of {}", kQuantGroup), Code::kUnsupported);
  return {packed ? CodeType::kInt4 : CodeType::kInt8, grouped ? group : 0};
}

QuantizationConfig::Group read_group(const JsonFields& f, const std::string& format_of_all) {
  const std::string format = f.text("format", format_of_all);
  const bool packed = format == "pack-quantized";
  if (!packed && format != "int-quantized" && format != "naive-quantized")
    f.refuse("format", quote(format), "int-quantized, naive-quantized or pack-quantized", Code::kUnsupported);
  refuse_present(f, {"output_activations"});
  check_activations(f);
  if (!f.has("weights")) f.refuse("weights", "an object");
  return {read_weights(f.object("weights"), packed), read_patterns(f, "targets")};
}

QuantizationConfig read_compressed_tensors(const JsonFields& f) {
  QuantizationConfig c;
  refuse_present(f, {"kv_cache_scheme", "sparsity_config", "transform_config"});
  require_text(f, "quantization_status", "compressed", "compressed");
  const std::string format = f.text("format", "dense");
  if (!f.has("config_groups")) f.refuse("config_groups", "an object");
  const JsonFields groups = f.object("config_groups");
  for (const std::string& name : groups.keys()) c.groups.push_back(read_group(groups.object(name), format));
  c.ignored = read_patterns(f, "ignore");
  return c;
}

// As DeepSeek-V3 and those after it are published.
QuantizationConfig read_fp8(const JsonFields& f) {
  QuantizationConfig c;
  require_text(f, "activation_scheme", "dynamic", "dynamic");
  require_text(f, "fmt", "e4m3", "e4m3");
  const std::vector<int64_t> block = f.integers("weight_block_size", 1, kMaxGroup);
  if (block != std::vector<int64_t>{128, 128})
    f.refuse("weight_block_size", fmt::format("[{}]", fmt::join(block, ", ")), "[128, 128]", Code::kUnsupported);
  c.groups.push_back({{CodeType::kFp8, 0}, {NamePattern::part("Linear")}});
  for (const std::string_view key : {"modules_to_not_convert", "ignored_layers"})
    for (const std::string& name : f.texts(key)) c.ignored.push_back(NamePattern::part(name));
  return c;
}

}  // namespace

std::string describe(const WeightScheme& scheme) {
  if (scheme.codes == CodeType::kFp8) return "fp8 in blocks of 128 x 128";
  const std::string name = scheme.codes == CodeType::kInt8 ? "int8" : "int4";
  return scheme.group == 0 ? name + " by rows" : fmt::format("{} in groups of {}", name, scheme.group);
}

std::optional<WeightScheme> QuantizationConfig::scheme_of(std::string_view module, ModuleKind kind) const {
  const auto fits = [&](const NamePattern& p) { return matches(p, module, kind); };
  if (std::ranges::any_of(ignored, fits)) return std::nullopt;
  for (const Group& g : groups)
    if (std::ranges::any_of(g.targets, fits)) return g.scheme;
  return std::nullopt;
}

QuantizationConfig read_quantization(const JsonFields& f) {
  const std::string method = f.text("quant_method");
  if (method == "compressed-tensors") return read_compressed_tensors(f);
  if (method == "fp8") return read_fp8(f);
  f.refuse("quant_method", quote(method), "compressed-tensors, or fp8 in blocks of 128 x 128", Code::kUnsupported);
  return {};
}

}  // namespace sluice
