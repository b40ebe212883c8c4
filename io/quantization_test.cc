#include "io/quantization.h"

#include <gtest/gtest.h>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "io/json.h"

namespace sluice {
namespace {

namespace json = boost::json;

struct Read {
  QuantizationConfig config;
  Status status;
};

Read read(const std::string& text) {
  const json::value v = parse_json(text, "text").value();
  Read r;
  r.config = read_quantization(JsonFields(v.get_object(), "config.json: quantization_config", r.status));
  return r;
}

// As llm-compressor writes it; what the arguments say of weights, of the group and of all goes before it.
std::string compressed(const std::string& weights, const std::string& group = "", const std::string& all = "") {
  json::object config = parse_json(R"({"quant_method": "compressed-tensors", "format": "pack-quantized",
    "quantization_status": "compressed", "kv_cache_scheme": null, "sparsity_config": {}, "transform_config": {}, "version": "0.12.2",
    "ignore": ["lm_head", "re:.*\\.in_proj_[ab]$", "re:model\\.visual"], "config_groups": {"group_0": {
      "targets": ["Linear"], "input_activations": null, "output_activations": null, "weights": {
        "actorder": null, "block_structure": null, "dynamic": false, "observer": "mse", "type": "int"}}}})",
                                   "text")
                            .value()
                            .get_object();
  json::object& in_group = config["config_groups"].as_object()["group_0"].as_object();
  const auto change = [](json::object& object, const std::string& fields) {
    const json::value changed = parse_json("{" + fields + "}", fields).value();
    for (const auto& [key, value] : changed.get_object()) object[key] = value;
  };
  change(config, all), change(in_group, group), change(in_group["weights"].as_object(), weights);
  return json::serialize(config);
}

constexpr const char* kInt4 = R"("num_bits": 4, "symmetric": true, "strategy": "group", "group_size": 128)";
constexpr ModuleKind kLinear = ModuleKind::kLinear, kEmbedding = ModuleKind::kEmbedding;

TEST(Quantization, ReadsInt4InGroups) {
  const auto [config, status] = read(compressed(kInt4));
  ASSERT_TRUE(status.ok()) << status.to_string();
  const WeightScheme int4{CodeType::kInt4, 128};
  EXPECT_EQ(config.scheme_of("model.layers.0.mlp.up_proj", kLinear), int4);
  EXPECT_EQ(config.scheme_of("model.layers.0.linear_attn.in_proj_z", kLinear), int4);
  EXPECT_EQ(config.scheme_of("model.layers.0.linear_attn.in_proj_a", kLinear), std::nullopt);
  EXPECT_EQ(config.scheme_of("lm_head", kLinear), std::nullopt);
  EXPECT_EQ(config.scheme_of("a.lm_head", kLinear), int4);                      // a name is all of a name
  EXPECT_EQ(config.scheme_of("model.visual.blocks.0", kLinear), std::nullopt);  // a pattern is of a beginning
  EXPECT_EQ(config.scheme_of("x.model.visual.blocks.0", kLinear), int4);
  EXPECT_EQ(config.scheme_of("model.embed_tokens", kEmbedding), std::nullopt);
}

TEST(Quantization, ReadsInt8WithActivationsFoundRowByRow) {
  const auto [config, status] =
      read(compressed(R"("num_bits": 8, "symmetric": true, "strategy": "channel")",
                      R"("format": "int-quantized", "input_activations": {"num_bits": 8, "type": "int", "symmetric": true,
                         "strategy": "token", "dynamic": true})"));
  ASSERT_TRUE(status.ok()) << status.to_string();
  EXPECT_EQ(config.scheme_of("x", kLinear), (WeightScheme{CodeType::kInt8, 0}));
}

TEST(Quantization, TheFirstGroupThatFitsCounts) {
  const auto [config, status] = read(R"({"quant_method": "compressed-tensors", "format": "mixed-precision", "config_groups": {
    "table": {"targets": ["re:.*embed_tokens$", "lm_head"], "format": "naive-quantized", "weights": {"num_bits": 8}},
    "rest": {"targets": ["Linear", "Embedding"], "format": "pack-quantized",
             "weights": {"num_bits": 4, "strategy": "group", "group_size": 32}}}})");
  ASSERT_TRUE(status.ok()) << status.to_string();
  EXPECT_EQ(config.scheme_of("model.embed_tokens", kEmbedding), (WeightScheme{CodeType::kInt8, 0}));
  EXPECT_EQ(config.scheme_of("lm_head", kLinear), (WeightScheme{CodeType::kInt8, 0}));
  EXPECT_EQ(config.scheme_of("x", kLinear), (WeightScheme{CodeType::kInt4, 32}));
  EXPECT_EQ(config.scheme_of("x", kEmbedding), (WeightScheme{CodeType::kInt4, 32}));
}

TEST(Quantization, ReadsFp8InBlocks) {
  const auto [config, status] = read(R"({"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3",
    "weight_block_size": [128, 128], "modules_to_not_convert": ["lm_head", "model.layers.0.mlp.gate", "model.visual"]})");
  ASSERT_TRUE(status.ok()) << status.to_string();
  const WeightScheme fp8{CodeType::kFp8, 0};
  EXPECT_EQ(config.scheme_of("model.layers.0.mlp.gate_proj", kLinear), fp8);
  EXPECT_EQ(config.scheme_of("model.layers.0.mlp.gate", kLinear), std::nullopt);
  EXPECT_EQ(config.scheme_of("model.visual.blocks.1", kLinear), std::nullopt);
  EXPECT_EQ(config.scheme_of("model.lm_head", kLinear), std::nullopt);
  EXPECT_EQ(config.scheme_of("model.embed_tokens", kEmbedding), std::nullopt);
}

TEST(Quantization, TakesWhatChangesNothing) {
  for (const std::string order : {R"("weight")", R"("static")"}) {
    const auto [config, status] = read(compressed(kInt4 + (", \"actorder\": " + order) + R"(, "dynamic": null)"));
    ASSERT_TRUE(status.ok()) << status.to_string();
    EXPECT_EQ(config.scheme_of("x", kLinear), (WeightScheme{CodeType::kInt4, 128}));
  }
}

TEST(Quantization, IsEqualOnlyInAllOfIt) {
  const std::string int4 = R"("num_bits": 4, "strategy": "group", "group_size": )";
  const std::string others[] = {compressed(int4 + "128"),
                                compressed(int4 + "32"),
                                compressed(R"("num_bits": 8)", R"("format": "int-quantized")"),
                                compressed(int4 + "128", R"("targets": ["x"])"),
                                compressed(int4 + "128", R"("targets": ["re:x"])"),
                                compressed(int4 + "128", "", R"("ignore": [])"),
                                R"({"quant_method": "compressed-tensors", "config_groups": {}})",
                                R"({"quant_method": "fp8", "weight_block_size": [128, 128]})"};
  for (const std::string& a : others)
    for (const std::string& b : others) EXPECT_EQ(read(a).config == read(b).config, &a == &b) << a << "\n" << b;
  EXPECT_FALSE(NamePattern::part("x") == *NamePattern::parse("x"));
  EXPECT_FALSE((WeightScheme{CodeType::kInt4, 0} == WeightScheme{CodeType::kInt8, 0}));
}

TEST(Quantization, SchemesAreDescribed) {
  EXPECT_EQ(describe({CodeType::kInt8, 0}), "int8 by rows");
  EXPECT_EQ(describe({CodeType::kInt4, 0}), "int4 by rows");
  EXPECT_EQ(describe({CodeType::kInt4, 32}), "int4 in groups of 32");
  EXPECT_EQ(describe({CodeType::kFp8, 0}), "fp8 in blocks of 128 x 128");
}

TEST(Quantization, RefusesByNameWhatThereIsNoCodeFor) {
  const std::string group = "config_groups: group_0: ", weights = group + "weights: ", multiple = ", wanted a multiple of 32";
  const std::string method = ", wanted compressed-tensors, or fp8 in blocks of 128 x 128";
  const struct {
    std::string text, message;
    Code code = Code::kUnsupported;
  } cases[] = {
      {R"({"quant_method": "awq", "bits": 4})", "quant_method is 'awq'" + method},
      {R"({"quant_method": "gptq", "bits": 4})", "quant_method is 'gptq'" + method},
      {R"({"quant_method": "bitsandbytes"})", "quant_method is 'bitsandbytes'" + method},
      {"{}", "quant_method is missing, wanted text", Code::kBadFile},
      {compressed(R"("num_bits": 4, "symmetric": false, "strategy": "group", "group_size": 32)"),
       weights + "symmetric is false, wanted true"},
      {compressed(R"("num_bits": 8, "strategy": "group", "group_size": 32)"), weights + "num_bits is 8, wanted 4 with this format"},
      {compressed(R"("num_bits": 4, "strategy": "group", "group_size": 16)"), weights + "group_size is 16" + multiple},
      {compressed(R"("num_bits": 4, "strategy": "group", "group_size": 48)"), weights + "group_size is 48" + multiple},
      {compressed(R"("num_bits": 4, "strategy": "tensor")"), weights + "strategy is 'tensor', wanted channel or group"},
      {compressed(R"("num_bits": 4, "actorder": "group")"),
       weights + "actorder is 'group', wanted none, or 'weight': columns in their own order"},
      {compressed(R"("num_bits": 4, "actorder": 5)"),
       weights + "actorder is 5, wanted none, or 'weight': columns in their own order"},
      {compressed(R"("num_bits": 4, "dynamic": true)"), weights + "dynamic is true, wanted false"},
      {compressed(R"("num_bits": 4, "block_structure": [16, 16])"), weights + "block_structure is a list of 2, wanted none"},
      {R"({"quant_method": "compressed-tensors"})", "config_groups is missing, wanted an object", Code::kBadFile},
      {R"({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"format": "pack-quantized"}}})",
       group + "weights is missing, wanted an object", Code::kBadFile},
      {compressed(kInt4, R"("format": "float-quantized")"),
       group + "format is 'float-quantized', wanted int-quantized, naive-quantized or pack-quantized"},
      {compressed(kInt4, R"("input_activations": {"num_bits": 8, "dynamic": false})"),
       group + "input_activations: dynamic is false, wanted true: scales found row by row"},
      {compressed(kInt4, R"("input_activations": {"num_bits": 4, "dynamic": true})"),
       group + "input_activations: num_bits is 4, wanted 8"},
      {compressed(kInt4, R"("output_activations": {"num_bits": 8})"), group + "output_activations is an object, wanted none"},
      {compressed(kInt4, "", R"("kv_cache_scheme": {"num_bits": 8})"), "kv_cache_scheme is an object, wanted none"},
      {compressed(kInt4, "", R"("transform_config": {"config_groups": {}})"), "transform_config is an object, wanted none"},
      {compressed(kInt4, "", R"("quantization_status": "frozen")"), "quantization_status is 'frozen', wanted 'compressed'"},
      {compressed(kInt4, "", R"("ignore": ["re:(x"])"),
       "ignore is a list where pattern 're:(x' does not compile: missing closing parenthesis at byte 5, wanted names, or 're:' and "
       "a "
       "pattern",
       Code::kBadFile},
      {R"({"quant_method": "fp8"})", "weight_block_size is [], wanted [128, 128]"},
      {R"({"quant_method": "fp8", "weight_block_size": [64, 128]})", "weight_block_size is [64, 128], wanted [128, 128]"},
      {R"({"quant_method": "fp8", "activation_scheme": "static", "weight_block_size": [128, 128]})",
       "activation_scheme is 'static', wanted 'dynamic'"},
  };
  for (const auto& c : cases) {
    const Status status = read(c.text).status;
    EXPECT_EQ(status.message(), "config.json: quantization_config: " + c.message);
    EXPECT_EQ(status.code(), c.code) << c.message;
  }
}

}  // namespace
}  // namespace sluice
