// config.json and generation_config.json of a Hugging Face checkpoint, checked before any weight is read.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "core/dtype.h"
#include "io/quantization.h"

namespace sluice {

enum class LayerKind { kLinearAttention, kFullAttention };

struct ModelConfig {
  std::string architecture;  // the class named by the file, or its family's class for this model_type
  std::string model_type;    // of the text model, also when it came in a wrapper
  bool wrapped = false;      // a multimodal wrapper with a text_config: tensors are named model.language_model.*
  bool has_vision = false;   // the wrapper has a vision tower, which is not run

  int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, num_layers = 0;
  std::vector<LayerKind> layers;  // num_layers of them

  int64_t num_attention_heads = 0, num_kv_heads = 0, head_dim = 0;  // full attention
  bool attn_output_gate = true;                                     // q_proj gives a gate beside each query

  int64_t linear_key_heads = 0, linear_value_heads = 0, linear_key_dim = 0, linear_value_dim = 0;  // dims: of one head
  int64_t conv_width = 0;

  double rms_norm_eps = 0, rope_theta = 0;
  int64_t rotary_dim = 0;              // the first dims of a head that rotate; even
  std::array<int, 3> mrope_section{};  // pairs for time, height and width; all 0 where the file has none
  int64_t max_position_embeddings = 0;
  bool tie_word_embeddings = false;
  std::vector<int64_t> eos_token_ids;
  int64_t mtp_layers = 0;      // multi-token prediction modules
  DType dtype = DType::kBF16;  // of the stored weights, as the file says
  std::optional<QuantizationConfig> quantization;

  bool operator==(const ModelConfig&) const = default;
};

// Takes a folder with a config.json, or the file. Reads both spellings: transformers 5 (rope_parameters, layer_types) and that of
// older published files (rope_theta, rope_scaling, partial_rotary_factor, full_attention_interval at the top).
Result<ModelConfig> load_model_config(const std::string& dir_or_file);
// From the file's text; `where` names it in errors.
Result<ModelConfig> parse_model_config(std::string_view text, const std::string& where);

struct GenerationConfig {
  bool do_sample = false;
  double temperature = 1, top_p = 1, min_p = 0;
  int64_t top_k = 0;  // 0: all
  std::vector<int64_t> eos_token_ids;
};

// dir/generation_config.json; without the file, the defaults above.
Result<GenerationConfig> load_generation_config(const std::string& dir);
Result<GenerationConfig> parse_generation_config(std::string_view text, const std::string& where);

}  // namespace sluice
