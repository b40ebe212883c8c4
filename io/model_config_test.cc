#include "io/model_config.h"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "io/json.h"
#include "tests/support/temp_dir.h"

namespace sluice {
namespace {

using sluice::testing::TempDir;
namespace json = boost::json;

constexpr LayerKind kLinear = LayerKind::kLinearAttention, kFull = LayerKind::kFullAttention;

std::string oracle(const std::string& model, const std::string& file) {
  return SLUICE_TEST_DATA "/oracles/models/" + model + "/" + file;
}

json::object object_of(const std::string& path) {
  const auto text = read_small_file(path, 1 << 20);
  EXPECT_TRUE(text.ok()) << path;
  const auto value = parse_json(*text, path);
  EXPECT_TRUE(value.ok()) << path;
  return value->get_object();
}

ModelConfig load_ok(const std::string& path) {
  const auto c = load_model_config(path);
  EXPECT_TRUE(c.ok()) << c.status().message();
  return c.ok() ? *c : ModelConfig();
}

TEST(ModelConfig, ReadsATextModel) {
  ModelConfig wanted;
  wanted.architecture = "Qwen3_5ForCausalLM", wanted.model_type = "qwen3_5_text";
  wanted.vocab_size = 512, wanted.hidden_size = 64, wanted.intermediate_size = 128, wanted.num_layers = 4;
  wanted.layers = {kLinear, kLinear, kLinear, kFull};
  wanted.num_attention_heads = 2, wanted.num_kv_heads = 1, wanted.head_dim = 256;
  wanted.linear_key_heads = 2, wanted.linear_value_heads = 4, wanted.linear_key_dim = 128, wanted.linear_value_dim = 128,
  wanted.conv_width = 4;
  wanted.rms_norm_eps = 1e-6, wanted.rope_theta = 1e7, wanted.rotary_dim = 64, wanted.mrope_section = {11, 11, 10};
  wanted.max_position_embeddings = 4096, wanted.eos_token_ids = {2};
  EXPECT_TRUE(load_ok(SLUICE_TEST_DATA "/oracles/models/qwen3_5_text") == wanted);
}

TEST(ModelConfig, ReadsAWrappedModel) {
  const ModelConfig c = load_ok(oracle("qwen3_5_wrapped_tied", "config.json"));
  EXPECT_EQ(c.architecture, "Qwen3_5ForConditionalGeneration");
  EXPECT_EQ(c.model_type, "qwen3_5_text");
  EXPECT_TRUE(c.wrapped);
  EXPECT_TRUE(c.has_vision);
  EXPECT_TRUE(c.tie_word_embeddings);
  EXPECT_EQ(c.rotary_dim, 16);
  EXPECT_EQ(c.linear_value_heads, 3);
}

TEST(ModelConfig, BothSpellingsAreTheSameModel) {
  for (const std::string model : {"qwen3_5_text", "qwen3_5_wrapped_tied"})
    EXPECT_TRUE(load_ok(oracle(model, "config.json")) == load_ok(oracle(model, "config.published_style.json"))) << model;
}

template <class... Fields>
void expect_each_counts(const ModelConfig& other, Fields ModelConfig::*... fields) {
  int n = 0;
  const auto expect_counts = [&](auto field) {
    ModelConfig c;
    EXPECT_TRUE(c == ModelConfig());
    c.*field = other.*field;
    EXPECT_FALSE(c == ModelConfig()) << "field " << n;
    c = other, c.*field = ModelConfig().*field;
    EXPECT_FALSE(c == other) << "field " << n;
    ++n;
  };
  (expect_counts(fields), ...);
}

TEST(ModelConfig, IsEqualOnlyInAllFields) {
  using C = ModelConfig;
  C other = load_ok(oracle("qwen3_5_wrapped_tied", "config.json"));
  other.attn_output_gate = false, other.dtype = DType::kF32, other.mtp_layers = 1, other.quantization.emplace();
  expect_each_counts(other, &C::architecture, &C::model_type, &C::wrapped, &C::has_vision, &C::vocab_size, &C::hidden_size,
                     &C::intermediate_size, &C::num_layers, &C::layers, &C::num_attention_heads, &C::num_kv_heads, &C::head_dim,
                     &C::attn_output_gate, &C::linear_key_heads, &C::linear_value_heads, &C::linear_key_dim, &C::linear_value_dim,
                     &C::conv_width, &C::rms_norm_eps, &C::rope_theta, &C::rotary_dim, &C::mrope_section,
                     &C::max_position_embeddings, &C::tie_word_embeddings, &C::eos_token_ids, &C::mtp_layers, &C::dtype,
                     &C::quantization);
}

TEST(ModelConfig, ReadsThePublishedModels) {
  const struct {
    const char* name;
    int64_t layers, hidden, intermediate, heads, kv_heads, value_heads;
    bool tied;
  } cases[] = {
      {"Qwen3.5-0.8B", 24, 1024, 3584, 8, 2, 16, true},   {"Qwen3.5-2B", 24, 2048, 6144, 8, 2, 16, true},
      {"Qwen3.5-4B", 32, 2560, 9216, 16, 4, 32, true},    {"Qwen3.5-9B", 32, 4096, 12288, 16, 4, 32, false},
      {"Qwen3.5-27B", 64, 5120, 17408, 24, 4, 48, false}, {"Qwen3.6-27B", 64, 5120, 17408, 24, 4, 48, false},
  };
  for (const auto& wanted : cases) {
    const ModelConfig c = load_ok(SLUICE_TEST_DATA "/configs/" + std::string(wanted.name) + ".json");
    EXPECT_EQ(c.architecture, "Qwen3_5ForCausalLM") << wanted.name;
    EXPECT_EQ(c.num_layers, wanted.layers) << wanted.name;
    EXPECT_EQ(c.hidden_size, wanted.hidden) << wanted.name;
    EXPECT_EQ(c.intermediate_size, wanted.intermediate) << wanted.name;
    EXPECT_EQ(c.num_attention_heads, wanted.heads) << wanted.name;
    EXPECT_EQ(c.num_kv_heads, wanted.kv_heads) << wanted.name;
    EXPECT_EQ(c.linear_key_heads, 16) << wanted.name;
    EXPECT_EQ(c.linear_value_heads, wanted.value_heads) << wanted.name;
    EXPECT_EQ(c.tie_word_embeddings, wanted.tied) << wanted.name;
    EXPECT_EQ(c.vocab_size, 248320) << wanted.name;
    EXPECT_EQ(c.head_dim, 256) << wanted.name;
    EXPECT_EQ(c.rotary_dim, 64) << wanted.name;
    EXPECT_EQ(c.rope_theta, 1e7) << wanted.name;
    EXPECT_EQ(c.mrope_section, (std::array<int, 3>{11, 11, 10})) << wanted.name;
    EXPECT_EQ(c.conv_width, 4) << wanted.name;
    EXPECT_EQ(c.eos_token_ids, (std::vector<int64_t>{248044})) << wanted.name;
    EXPECT_EQ(c.mtp_layers, 1) << wanted.name;
    EXPECT_EQ(c.max_position_embeddings, 262144) << wanted.name;
    EXPECT_TRUE(c.attn_output_gate) << wanted.name;
    EXPECT_EQ(c.dtype, DType::kBF16) << wanted.name;
    ASSERT_EQ(int64_t(c.layers.size()), wanted.layers) << wanted.name;
    for (int64_t i = 0; i < wanted.layers; ++i)
      EXPECT_EQ(c.layers[i], i % 4 == 3 ? kFull : kLinear) << wanted.name << " layer " << i;
  }
}

// The good text model with some fields changed.
class ChangedConfig : public ::testing::Test {
 protected:
  using Change = void (*)(json::object&);

  Result<ModelConfig> load(Change change, const std::string& model = "qwen3_5_text") {
    json::object config = object_of(oracle(model, "config.json"));
    change(config);
    return load_model_config(dir_.write("config.json", json::serialize(config)));
  }
  ModelConfig ok(Change change, const std::string& model = "qwen3_5_text") {
    const auto c = load(change, model);
    EXPECT_TRUE(c.ok()) << c.status().message();
    return c.ok() ? *c : ModelConfig();
  }
  std::string path() { return dir_ / "config.json"; }
  TempDir dir_;
};

TEST_F(ChangedConfig, TakesTheOldSpellingAtTheTop) {
  const ModelConfig old = ok([](json::object& c) {
    c.erase("rope_parameters");
    c.erase("layer_types");
    c["rope_theta"] = 10000000.0;
    c["partial_rotary_factor"] = 0.25;
    c["rope_scaling"] = {{"type", "default"}, {"mrope_section", {11, 11, 10}}};
    c["full_attention_interval"] = 4;
    c["torch_dtype"] = c["dtype"];
    c.erase("dtype");
  });
  EXPECT_TRUE(old == load_ok(oracle("qwen3_5_text", "config.json")));
}

TEST_F(ChangedConfig, ReadsWhatMayVary) {
  EXPECT_EQ(ok([](json::object& c) { c["eos_token_id"] = {7, 5}; }).eos_token_ids, (std::vector<int64_t>{7, 5}));
  EXPECT_TRUE(ok([](json::object& c) { c["eos_token_id"] = nullptr; }).eos_token_ids.empty());
  EXPECT_TRUE(ok([](json::object& c) { c.erase("eos_token_id"); }).eos_token_ids.empty());
  EXPECT_EQ(ok([](json::object& c) { c["dtype"] = "float32"; }).dtype, DType::kF32);
  EXPECT_EQ(ok([](json::object& c) { c["linear_conv_kernel_dim"] = 2; }).conv_width, 2);
  EXPECT_FALSE(ok([](json::object& c) { c["attn_output_gate"] = false; }).attn_output_gate);
  EXPECT_EQ(ok([](json::object& c) { c["rope_parameters"].as_object().erase("partial_rotary_factor"); }).rotary_dim, 64);
  EXPECT_EQ(ok([](json::object& c) { c["rope_parameters"].as_object().erase("mrope_section"); }).mrope_section,
            (std::array<int, 3>{}));
  EXPECT_EQ(ok([](json::object& c) {
              c.erase("layer_types");
              c["full_attention_interval"] = 2;
            }).layers,
            (std::vector<LayerKind>{kLinear, kFull, kLinear, kFull}));
}

TEST_F(ChangedConfig, FallsBackToTheWrapper) {
  const std::string wrapped = "qwen3_5_wrapped_tied";
  const auto text = [](json::object& c) -> json::object& { return c["text_config"].as_object(); };
  static const auto text_of = text;
  EXPECT_TRUE(ok([](json::object& c) { text_of(c).erase("tie_word_embeddings"); }, wrapped).tie_word_embeddings);
  EXPECT_FALSE(ok(
                   [](json::object& c) {
                     text_of(c).erase("tie_word_embeddings");
                     c["tie_word_embeddings"] = false;
                   },
                   wrapped)
                   .tie_word_embeddings);
  EXPECT_EQ(ok(
                [](json::object& c) {
                  text_of(c).erase("eos_token_id");
                  c["eos_token_id"] = 9;
                },
                wrapped)
                .eos_token_ids,
            (std::vector<int64_t>{9}));
  EXPECT_FALSE(ok([](json::object& c) { c.erase("vision_config"); }, wrapped).has_vision);
  EXPECT_EQ(load([](json::object& c) { text_of(c)["hidden_size"] = 0; }, wrapped).status().message(),
            path() + ": text_config: hidden_size is 0, wanted an integer from 1 to 1048576");
  EXPECT_EQ(load([](json::object& c) { c.erase("text_config"); }, wrapped).status().message(),
            path() + ": text_config is missing, wanted an object");
  EXPECT_EQ(load([](json::object& c) { text_of(c)["model_type"] = "qwen3_5"; }, wrapped).status().message(),
            path() + ": text_config: model_type is 'qwen3_5', wanted 'qwen3_5_text'");
}

TEST_F(ChangedConfig, RefusesBadFields) {  // fault row 8
  const std::string width = ", wanted an integer from 1 to 1048576";
  const struct {
    Change change;
    std::string message;
  } cases[] = {
      {[](json::object& c) { c["num_attention_heads"] = 0; }, "num_attention_heads is 0" + width},
      {[](json::object& c) { c["num_key_value_heads"] = 0; }, "num_key_value_heads is 0" + width},
      {[](json::object& c) { c["linear_num_key_heads"] = 0; }, "linear_num_key_heads is 0" + width},
      {[](json::object& c) { c["hidden_size"] = -64; }, "hidden_size is -64" + width},
      {[](json::object& c) { c["hidden_size"] = 1e30; }, "hidden_size is 1e+30" + width},
      {[](json::object& c) { c["hidden_size"] = 64.0; }, "hidden_size is 64" + width},
      {[](json::object& c) { c["hidden_size"] = uint64_t(1) << 63; }, "hidden_size is 9223372036854775808" + width},
      {[](json::object& c) { c["hidden_size"] = "64"; }, "hidden_size is '64'" + width},
      {[](json::object& c) { c.erase("hidden_size"); }, "hidden_size is missing" + width},
      {[](json::object& c) { c.erase("head_dim"); }, "head_dim is missing, wanted an integer from 2 to 1048576"},
      {[](json::object& c) { c["vocab_size"] = int64_t(1) << 40; },
       "vocab_size is 1099511627776, wanted an integer from 1 to 16777216"},
      {[](json::object& c) { c["num_hidden_layers"] = 1000000000; },
       "num_hidden_layers is 1000000000, wanted an integer from 1 to 1024"},
      {[](json::object& c) { c["num_hidden_layers"] = 5; },
       "layer_types is a list of 4, wanted 5, one for each of num_hidden_layers"},
      {[](json::object& c) { c["layer_types"] = json::array(); },
       "layer_types is a list of 0, wanted 4, one for each of num_hidden_layers"},
      {[](json::object& c) { c["layer_types"].as_array()[2] = 3; }, "layer_types is a list with 3, wanted a list of texts"},
      {[](json::object& c) { c["layer_types"] = "full_attention"; }, "layer_types is 'full_attention', wanted a list of texts"},
      {[](json::object& c) {
         c.erase("layer_types");
         c["full_attention_interval"] = 0;
       },
       "full_attention_interval is 0, wanted an integer from 1 to 1024"},
      {[](json::object& c) { c["num_key_value_heads"] = 3; },
       "num_attention_heads is 2, wanted a multiple of num_key_value_heads (3)"},
      {[](json::object& c) { c["linear_num_value_heads"] = 3; },
       "linear_num_value_heads is 3, wanted a multiple of linear_num_key_heads (2)"},
      {[](json::object& c) { c["head_dim"] = 1 << 20; }, "num_attention_heads * head_dim is 2 * 1048576, wanted at most 1048576"},
      {[](json::object& c) { c["linear_key_head_dim"] = 1 << 20; },
       "linear_num_key_heads * linear_key_head_dim is 2 * 1048576, wanted at most 1048576"},
      {[](json::object& c) { c["linear_value_head_dim"] = 1 << 19; },
       "linear_num_value_heads * linear_value_head_dim is 4 * 524288, wanted at most 1048576"},
      {[](json::object& c) { c["head_dim"] = 63; }, "head_dim * partial_rotary_factor is 63 * 0.25, wanted an even integer from 2"},
      {[](json::object& c) { c["head_dim"] = 100; },
       "head_dim * partial_rotary_factor is 100 * 0.25, wanted an even integer from 2"},
      {[](json::object& c) { c["head_dim"] = 128; },
       "rope_parameters: mrope_section is 3 sections of 32 pairs in all, wanted 3 sections of 16 pairs, half the rotary dims"},
      {[](json::object& c) {
         c["rope_parameters"].as_object()["mrope_section"] = {16, 16};
       },
       "rope_parameters: mrope_section is 2 sections of 32 pairs in all, wanted 3 sections of 32 pairs, half the rotary dims"},
      {[](json::object& c) { c["rope_parameters"].as_object()["partial_rotary_factor"] = 2; },
       "rope_parameters: partial_rotary_factor is 2, wanted a number from 1e-06 to 1"},
      {[](json::object& c) { c["rope_parameters"].as_object()["rope_theta"] = 0; },
       "rope_parameters: rope_theta is 0, wanted a number from 1 to 1000000000000000"},
      {[](json::object& c) { c["rope_parameters"].as_object().erase("rope_theta"); },
       "rope_theta is missing, wanted a number from 1 to 1000000000000000"},
      {[](json::object& c) { c["rope_parameters"] = 3; }, "rope_parameters is 3, wanted an object"},
      {[](json::object& c) { c["linear_conv_kernel_dim"] = 1; }, "linear_conv_kernel_dim is 1, wanted an integer from 2 to 4"},
      {[](json::object& c) { c["linear_conv_kernel_dim"] = 5; }, "linear_conv_kernel_dim is 5, wanted an integer from 2 to 4"},
      {[](json::object& c) { c["rms_norm_eps"] = 0; }, "rms_norm_eps is 0, wanted a number from 1e-12 to 1"},
      {[](json::object& c) { c["eos_token_id"] = 512; }, "eos_token_id is 512, wanted an integer from 0 to 511"},
      {[](json::object& c) {
         c["eos_token_id"] = {1, -1};
       },
       "eos_token_id is a list with -1, wanted integers from 0 to 511"},
      {[](json::object& c) { c["eos_token_id"] = "</s>"; }, "eos_token_id is '</s>', wanted an integer from 0 to 511"},
      {[](json::object& c) { c["tie_word_embeddings"] = "yes"; }, "tie_word_embeddings is 'yes', wanted true or false"},
      {[](json::object& c) { c["mtp_num_hidden_layers"] = -1; }, "mtp_num_hidden_layers is -1, wanted an integer from 0 to 16"},
      {[](json::object& c) { c.erase("model_type"); }, "model_type is missing, wanted text"},
  };
  for (const auto& c : cases) {
    const auto result = load(c.change);
    ASSERT_FALSE(result.ok()) << c.message;
    EXPECT_EQ(result.status().message(), path() + ": " + c.message);
    EXPECT_EQ(result.status().code(), Code::kBadFile) << c.message;
  }
}

TEST_F(ChangedConfig, RefusesWhatIsNotServed) {  // fault row 8
  const struct {
    Change change;
    std::string message;
  } cases[] = {
      {[](json::object& c) { c["model_type"] = "llama"; },
       "model_type is 'llama', wanted one of those served: qwen3_5_text, qwen3_5"},
      {[](json::object& c) { c["layer_types"].as_array()[2] = "sliding_attention"; },
       "layer_types is a list with 'sliding_attention', wanted linear_attention and full_attention only"},
      {[](json::object& c) { c["hidden_act"] = "gelu"; }, "hidden_act is 'gelu', wanted 'silu'"},
      {[](json::object& c) { c["output_gate_type"] = "tanh"; }, "output_gate_type is 'tanh', wanted 'swish'"},
      {[](json::object& c) { c["attention_bias"] = true; }, "attention_bias is true, wanted false"},
      {[](json::object& c) { c["rope_parameters"].as_object()["rope_type"] = "yarn"; },
       "rope_parameters: rope_type is 'yarn', wanted 'default'"},
      {[](json::object& c) {
         c.erase("rope_parameters");
         c["rope_scaling"] = {{"type", "linear"}};
       },
       "rope_scaling: type is 'linear', wanted 'default'"},
      {[](json::object& c) { c["dtype"] = "float8_e4m3fn"; }, "dtype is 'float8_e4m3fn', wanted bfloat16, float16 or float32"},
      {[](json::object& c) {
         c["quantization_config"] = {{"quant_method", "awq"}};
       },
       "quantization_config: quant_method is 'awq', wanted compressed-tensors, or fp8 in blocks of 128 x 128"},
      {[](json::object& c) {
         c["mtp_num_hidden_layers"] = 1;
         c["mtp_use_dedicated_embeddings"] = true;
       },
       "mtp_use_dedicated_embeddings is true, wanted false"},
  };
  for (const auto& c : cases) {
    const auto result = load(c.change);
    ASSERT_FALSE(result.ok()) << c.message;
    EXPECT_EQ(result.status().message(), path() + ": " + c.message);
    EXPECT_EQ(result.status().code(), Code::kUnsupported) << c.message;
  }
}

TEST(ModelConfigFile, RefusesBadFiles) {  // fault row 8
  TempDir dir;
  const std::string path = dir.write("config.json", "[]");
  EXPECT_EQ(load_model_config(dir.root()).status().message(), path + ": is not a JSON object, wanted {...}");
  dir.write("config.json", "{\"model_type\": \"qwen3_5_text\", \"hidden_size\": 1, \"hidden_size\": 2}");
  EXPECT_EQ(load_model_config(path).status().message(), path + ": key 'hidden_size' comes twice in one object (at byte 61)");
  std::string nested;
  for (int i = 0; i < 1000; ++i) nested += R"({"text_config":)";
  dir.write("config.json", nested);
  EXPECT_EQ(load_model_config(path).status().message(), path + ": not valid JSON: too deep at byte 960");
  std::filesystem::resize_file(path, 50 << 20);
  EXPECT_EQ(load_model_config(path).status().message(), path + ": has 52428800 bytes, wanted at most 1048576");
  EXPECT_EQ(load_model_config(dir / "none").status().code(), Code::kNotFound);
}

TEST(GenerationConfig, ReadsDefaultsAndFields) {
  TempDir dir;
  const auto missing = load_generation_config(dir.root());
  ASSERT_TRUE(missing.ok()) << missing.status().message();
  EXPECT_FALSE(missing->do_sample);
  EXPECT_EQ(missing->top_p, 1);
  EXPECT_EQ(missing->top_k, 0);

  dir.write("generation_config.json", R"({"do_sample": true, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": null,
                                          "eos_token_id": [248046, 248044], "transformers_version": "5"})");
  const auto g = load_generation_config(dir.root());
  ASSERT_TRUE(g.ok()) << g.status().message();
  EXPECT_TRUE(g->do_sample);
  EXPECT_EQ(g->temperature, 0.6);
  EXPECT_EQ(g->top_p, 0.95);
  EXPECT_EQ(g->top_k, 20);
  EXPECT_EQ(g->min_p, 0);
  EXPECT_EQ(g->eos_token_ids, (std::vector<int64_t>{248046, 248044}));
}

TEST(GenerationConfig, RefusesBadFields) {
  TempDir dir;
  for (const auto& [text, message] : std::initializer_list<std::pair<const char*, const char*>>{
           {R"({"temperature": -1})", "temperature is -1, wanted a number from 0 to 100"},
           {R"({"top_p": 1.5})", "top_p is 1.5, wanted a number from 0 to 1"},
           {R"({"top_k": 2.5})", "top_k is 2.5, wanted an integer from 0 to 2147483647"},
           {R"({"eos_token_id": -2})", "eos_token_id is -2, wanted an integer from 0 to 2147483647"},
           {"[]", "is not a JSON object, wanted {...}"}}) {
    const std::string path = dir.write("generation_config.json", text);
    EXPECT_EQ(load_generation_config(dir.root()).status().message(), path + ": " + message);
  }
}

}  // namespace
}  // namespace sluice
