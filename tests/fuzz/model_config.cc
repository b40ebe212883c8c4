// config.json and, behind a first byte that is odd, generation_config.json.
#include "io/model_config.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/fuzz/fuzz.h"

namespace sluice::fuzz {
namespace {

// What every reader of a config relies on: sizes that divide, fit, and multiply without overflow.
void check(const ModelConfig& c) {
  for (const int64_t size :
       {c.vocab_size, c.hidden_size, c.intermediate_size, c.num_layers, c.num_attention_heads, c.num_kv_heads, c.head_dim,
        c.linear_key_heads, c.linear_value_heads, c.linear_key_dim, c.linear_value_dim, c.max_position_embeddings})
    SLUICE_HOLDS(size >= 1 && size <= int64_t(1) << 28);
  SLUICE_HOLDS(int64_t(c.layers.size()) == c.num_layers);
  SLUICE_HOLDS(c.num_attention_heads % c.num_kv_heads == 0 && c.linear_value_heads % c.linear_key_heads == 0);
  for (const int64_t width : {c.num_attention_heads * c.head_dim, c.linear_key_heads * c.linear_key_dim,
                              c.linear_value_heads * c.linear_value_dim, c.hidden_size, c.intermediate_size})
    SLUICE_HOLDS(width <= 1 << 20);
  SLUICE_HOLDS(c.conv_width >= 2 && c.conv_width <= 4);
  SLUICE_HOLDS(c.rotary_dim >= 2 && c.rotary_dim % 2 == 0 && c.rotary_dim <= c.head_dim);
  const int pairs = std::accumulate(c.mrope_section.begin(), c.mrope_section.end(), 0);
  SLUICE_HOLDS(pairs == 0 || pairs == c.rotary_dim / 2);
  SLUICE_HOLDS(std::isfinite(c.rope_theta) && c.rope_theta >= 1 && c.rms_norm_eps > 0 && c.rms_norm_eps <= 1);
  for (const int64_t id : c.eos_token_ids) SLUICE_HOLDS(id >= 0 && id < c.vocab_size);
  SLUICE_HOLDS(c.mtp_layers >= 0 && !c.model_type.empty());
  SLUICE_HOLDS(c.dtype == DType::kBF16 || c.dtype == DType::kF16 || c.dtype == DType::kF32);
}

void check(const GenerationConfig& g) {
  SLUICE_HOLDS(g.temperature >= 0 && g.temperature <= 100);
  SLUICE_HOLDS(g.top_p >= 0 && g.top_p <= 1 && g.min_p >= 0 && g.min_p <= 1);
  SLUICE_HOLDS(g.top_k >= 0 && g.top_k <= INT32_MAX);
  for (const int64_t id : g.eos_token_ids) SLUICE_HOLDS(id >= 0 && id <= INT32_MAX);
}

template <class Config>
void check_result(const Result<Config>& config) {
  if (!config.ok()) return check_refusal(config.status(), "file");
  check(*config);
}

}  // namespace

void fuzz_one(std::string_view bytes) {
  Input in(bytes);
  if (in.flag()) check_result(parse_generation_config(in.rest(), "file"));
  else check_result(parse_model_config(in.rest(), "file"));
}

}  // namespace sluice::fuzz
