#include "io/model_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <numeric>

#include "base/checked.h"
#include "io/json.h"
#include "io/json_fields.h"
#include "io/quote.h"

namespace sluice {
namespace {

constexpr size_t kMaxConfigBytes = 1 << 20;

// Far above any published model, and low enough that no size computed from a config overflows 63 bits: the largest, keys and values
// of a full context in fp32, is 2 * kMaxLayers * kMaxWidth * kMaxPositions * 4 = 2^61 bytes.
constexpr int64_t kMaxLayers = 1 << 10, kMaxWidth = 1 << 20, kMaxVocab = 1 << 24, kMaxPositions = 1 << 28;

// a * b of two fields, at most kMaxWidth.
int64_t width(const JsonFields& f, std::string_view a_key, int64_t a, std::string_view b_key, int64_t b) {
  const auto product = checked_mul(a, b);
  if (!product || *product > kMaxWidth)
    f.refuse(fmt::format("{} * {}", a_key, b_key), fmt::format("{} * {}", a, b), fmt::format("at most {}", kMaxWidth));
  return product.value_or(0);
}

void require_multiple(const JsonFields& f, std::string_view key, int64_t value, std::string_view of_key, int64_t of) {
  if (of > 0 && value % of != 0) f.refuse(key, std::to_string(value), fmt::format("a multiple of {} ({})", of_key, of));
}

void read_sizes(const JsonFields& f, ModelConfig& c) {
  c.vocab_size = f.integer("vocab_size", 1, kMaxVocab);
  c.hidden_size = f.integer("hidden_size", 1, kMaxWidth);
  c.intermediate_size = f.integer("intermediate_size", 1, kMaxWidth);
  c.num_layers = f.integer("num_hidden_layers", 1, kMaxLayers);
  c.max_position_embeddings = f.integer("max_position_embeddings", 1, kMaxPositions);
  c.rms_norm_eps = f.number("rms_norm_eps", 1e-12, 1);
  c.mtp_layers = f.integer("mtp_num_hidden_layers", 0, 16, 0);
}

// layer_types says it; older files say every how many layers one has full attention (4 in the family's reference class).
void read_layers(const JsonFields& f, ModelConfig& c) {
  if (!f.has("layer_types")) {
    const int64_t interval = f.integer("full_attention_interval", 1, kMaxLayers, 4);
    for (int64_t i = 1; i <= c.num_layers; ++i)
      c.layers.push_back(i % interval == 0 ? LayerKind::kFullAttention : LayerKind::kLinearAttention);
    return;
  }
  const std::vector<std::string> types = f.texts("layer_types");
  if (int64_t(types.size()) != c.num_layers)
    f.refuse("layer_types", fmt::format("a list of {}", types.size()),
             fmt::format("{}, one for each of num_hidden_layers", c.num_layers));
  for (const std::string& type : types) {
    const bool full = type == "full_attention";
    if (!full && type != "linear_attention")
      f.refuse("layer_types", "a list with " + quote(type), "linear_attention and full_attention only", Code::kUnsupported);
    c.layers.push_back(full ? LayerKind::kFullAttention : LayerKind::kLinearAttention);
  }
}

void read_full_attention(const JsonFields& f, ModelConfig& c) {
  c.num_attention_heads = f.integer("num_attention_heads", 1, kMaxWidth);
  c.num_kv_heads = f.integer("num_key_value_heads", 1, kMaxWidth);
  c.head_dim = f.integer("head_dim", 2, kMaxWidth);
  c.attn_output_gate = f.boolean("attn_output_gate", true);
  require_multiple(f, "num_attention_heads", c.num_attention_heads, "num_key_value_heads", c.num_kv_heads);
  width(f, "num_attention_heads", c.num_attention_heads, "head_dim", c.head_dim);
}

void read_linear_attention(const JsonFields& f, ModelConfig& c) {
  c.linear_key_heads = f.integer("linear_num_key_heads", 1, kMaxWidth);
  c.linear_value_heads = f.integer("linear_num_value_heads", 1, kMaxWidth);
  c.linear_key_dim = f.integer("linear_key_head_dim", 1, kMaxWidth);
  c.linear_value_dim = f.integer("linear_value_head_dim", 1, kMaxWidth);
  c.conv_width = f.integer("linear_conv_kernel_dim", 2, 4);
  require_multiple(f, "linear_num_value_heads", c.linear_value_heads, "linear_num_key_heads", c.linear_key_heads);
  width(f, "linear_num_key_heads", c.linear_key_heads, "linear_key_head_dim", c.linear_key_dim);
  width(f, "linear_num_value_heads", c.linear_value_heads, "linear_value_head_dim", c.linear_value_dim);
}

// rope_parameters of transformers 5, or rope_scaling with rope_theta and partial_rotary_factor at the top.
void read_rope(const JsonFields& f, ModelConfig& c) {
  const JsonFields nested = f.object(f.has("rope_parameters") ? "rope_parameters" : "rope_scaling");
  const auto holder = [&](std::string_view key) -> const JsonFields& { return nested.has(key) ? nested : f; };

  for (const std::string_view key : {"rope_type", "type"})
    if (nested.has(key) && nested.text(key) != "default") nested.refuse(key, "'default'", Code::kUnsupported);
  c.rope_theta = holder("rope_theta").number("rope_theta", 1, 1e15);

  // 0.25 where the file is silent, as the family's reference class has it.
  const double factor = holder("partial_rotary_factor").number("partial_rotary_factor", 1e-6, 1, 0.25);
  const double rotary = double(c.head_dim) * factor;
  c.rotary_dim = std::llround(rotary);
  const bool whole = std::abs(rotary - double(c.rotary_dim)) < 1e-6;  // 70 * 0.1 is not 7 in binary
  if (!whole || c.rotary_dim < 2 || c.rotary_dim % 2 != 0)
    f.refuse("head_dim * partial_rotary_factor", fmt::format("{} * {}", c.head_dim, factor), "an even integer from 2");

  const std::vector<int64_t> sections = nested.integers("mrope_section", 0, kMaxWidth);
  if (sections.empty()) return;
  const int64_t pairs = std::accumulate(sections.begin(), sections.end(), int64_t(0));
  if (sections.size() != 3 || pairs != c.rotary_dim / 2)
    return nested.refuse("mrope_section", fmt::format("{} sections of {} pairs in all", sections.size(), pairs),
                         fmt::format("3 sections of {} pairs, half the rotary dims", c.rotary_dim / 2));
  std::copy(sections.begin(), sections.end(), c.mrope_section.begin());
}

DType read_dtype(const JsonFields& text, const JsonFields& top) {
  for (const JsonFields* f : {&text, &top})
    for (const std::string_view key : {"dtype", "torch_dtype"}) {
      if (!f->has(key)) continue;
      const std::string name = f->text(key);
      if (name == "bfloat16") return DType::kBF16;
      if (name == "float16") return DType::kF16;
      if (name == "float32") return DType::kF32;
      f->refuse(key, "bfloat16, float16 or float32", Code::kUnsupported);
    }
  return DType::kBF16;  // what every published file of the families served has
}

// What a field may not say, because there is no code for it.
void refuse_unserved(const JsonFields& f, const ModelConfig& c) {
  if (f.text("hidden_act", "silu") != "silu") f.refuse("hidden_act", "'silu'", Code::kUnsupported);
  if (f.text("output_gate_type", "swish") != "swish") f.refuse("output_gate_type", "'swish'", Code::kUnsupported);
  if (f.boolean("attention_bias", false)) f.refuse("attention_bias", "false", Code::kUnsupported);
  if (c.mtp_layers > 0 && f.boolean("mtp_use_dedicated_embeddings", false))
    f.refuse("mtp_use_dedicated_embeddings", "false", Code::kUnsupported);
}

void read_qwen3_5(const JsonFields& f, ModelConfig& c) {
  read_sizes(f, c);
  read_layers(f, c);
  read_full_attention(f, c);
  read_linear_attention(f, c);
  read_rope(f, c);
  refuse_unserved(f, c);
}

// A family of models. A new one is one line here and its read function, made of the ones above.
struct Family {
  std::string_view text_type, text_class;        // model_type of the text model; its class, for files that name none
  std::string_view wrapper_type, wrapper_class;  // of the multimodal model that has it as text_config
  void (*read)(const JsonFields& text, ModelConfig&);
};
constexpr Family kFamilies[] = {
    {"qwen3_5_text", "Qwen3_5ForCausalLM", "qwen3_5", "Qwen3_5ForConditionalGeneration", read_qwen3_5},
};

const Family* family_of(const JsonFields& top, const std::string& model_type) {
  std::string served;
  for (const Family& family : kFamilies) {
    if (model_type == family.text_type || model_type == family.wrapper_type) return &family;
    served += fmt::format("{}{}, {}", served.empty() ? "" : ", ", family.text_type, family.wrapper_type);
  }
  top.refuse("model_type", quote(model_type), "one of those served: " + served, Code::kUnsupported);
  return nullptr;
}

// `top` is the file's object, `text` the part that describes the text model: the same, or the wrapper's text_config.
void read_family(const Family& family, const JsonFields& text, const JsonFields& top, ModelConfig& c) {
  c.model_type = family.text_type;
  const std::vector<std::string> classes = top.texts("architectures");
  c.architecture = classes.empty() ? std::string(c.wrapped ? family.wrapper_class : family.text_class) : classes[0];
  c.dtype = read_dtype(text, top);
  for (const JsonFields* f : {&text, &top})
    if (f->has("quantization_config") && !c.quantization) c.quantization = read_quantization(f->object("quantization_config"));
  family.read(text, c);
  // Published wrappers keep these two in either place.
  const auto holder = [&](std::string_view key) -> const JsonFields& { return text.has(key) ? text : top; };
  c.tie_word_embeddings = holder("tie_word_embeddings").boolean("tie_word_embeddings", false);
  c.eos_token_ids = holder("eos_token_id").integers("eos_token_id", 0, std::max<int64_t>(c.vocab_size - 1, 0));
}

Result<boost::json::object> parse_object(std::string_view text, const std::string& where) {
  SLUICE_ASSIGN_OR_RETURN(boost::json::value value, parse_json(text, where));
  if (!value.is_object()) return bad_file(where + ": is not a JSON object, wanted {...}");
  return std::move(value.get_object());
}

}  // namespace

Result<ModelConfig> load_model_config(const std::string& dir_or_file) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const std::string path = fs::is_directory(dir_or_file, ignored) ? (fs::path(dir_or_file) / "config.json").string() : dir_or_file;
  SLUICE_ASSIGN_OR_RETURN(const std::string text, read_small_file(path, kMaxConfigBytes));
  return parse_model_config(text, path);
}

Result<ModelConfig> parse_model_config(std::string_view file, const std::string& where) {
  SLUICE_ASSIGN_OR_RETURN(const boost::json::object object, parse_object(file, where));
  Status status;
  ModelConfig c;
  const JsonFields top(object, where, status);
  const std::string model_type = top.text("model_type");
  const Family* family = status.ok() ? family_of(top, model_type) : nullptr;
  if (!family) return status;
  c.wrapped = model_type == family->wrapper_type;
  c.has_vision = c.wrapped && top.has("vision_config");
  if (c.wrapped && !top.has("text_config")) top.refuse("text_config", "an object");
  const JsonFields text = c.wrapped ? top.object("text_config") : top;
  if (c.wrapped && text.text("model_type", std::string(family->text_type)) != family->text_type)
    text.refuse("model_type", quote(family->text_type));
  read_family(*family, text, top, c);
  if (!status.ok()) return status;
  return c;
}

Result<GenerationConfig> load_generation_config(const std::string& dir) {
  const std::string path = (std::filesystem::path(dir) / "generation_config.json").string();
  const auto text = read_small_file(path, kMaxConfigBytes);
  if (text.status().code() == Code::kNotFound) return GenerationConfig();
  if (!text.ok()) return text.status();
  return parse_generation_config(*text, path);
}

Result<GenerationConfig> parse_generation_config(std::string_view text, const std::string& where) {
  SLUICE_ASSIGN_OR_RETURN(const boost::json::object object, parse_object(text, where));
  constexpr int64_t kMaxId = std::numeric_limits<int32_t>::max();
  const GenerationConfig defaults;
  Status status;
  const JsonFields f(object, where, status);
  GenerationConfig g;
  g.do_sample = f.boolean("do_sample", defaults.do_sample);
  g.temperature = f.number("temperature", 0, 100, defaults.temperature);
  g.top_p = f.number("top_p", 0, 1, defaults.top_p);
  g.min_p = f.number("min_p", 0, 1, defaults.min_p);
  g.top_k = f.integer("top_k", 0, kMaxId, defaults.top_k);
  g.eos_token_ids = f.integers("eos_token_id", 0, kMaxId);
  if (!status.ok()) return status;
  return g;
}

}  // namespace sluice
