// Quantised weights through files and back, and beside the numbers that they stand for. That a row's bits do not depend on what
// comes with it is same_bits_test's and scheduler_test's.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "models/quantize.h"
#include "tests/support/cut_sequences.h"
#include "tests/support/fp8_checkpoint.h"

namespace sluice {
namespace {

using namespace testing;
namespace fs = std::filesystem;
namespace json = boost::json;

const std::string kModel = SLUICE_SOURCE_DIR "/demo/model";
constexpr int64_t kVocab = 2048;

std::unique_ptr<Engine> engine(const std::string& model, std::optional<Quantize> quantize = {},
                               DTypeChoice dtype = DTypeChoice::kAuto) {
  auto e = Engine::create({.model = model, .dtype = dtype, .quantize = quantize, .threads = 2, .max_context = 256, .speculate = 1});
  EXPECT_TRUE(e.ok()) << e.status().to_string();
  return e.ok() ? std::move(*e) : nullptr;
}

std::vector<float> logits(Engine& e) { return in_pieces(e, random_ids(100, 5, kVocab), 100); }

Status write(const Quantize& how, const std::string& to, size_t shard_bytes = size_t(1) << 30) {
  const auto cpu = CpuRuntime::create(2).value();
  return write_quantized({.from = kModel, .to = to, .how = how, .shard_bytes = shard_bytes, .where = cpu->context()});
}

// Root of mean square differences, of that of what is wanted.
double distance(const std::vector<float>& got, const std::vector<float>& want) {
  double difference = 0, square = 0;
  for (size_t i = 0; i < want.size(); ++i) difference += std::pow(double(got[i]) - want[i], 2), square += double(want[i]) * want[i];
  return std::sqrt(difference / square);
}

struct Way {
  const char* name;
  Quantize how;
  double most;  // distance from the original's logits
};
class Quantized : public ::testing::TestWithParam<Way> {};

TEST_P(Quantized, IsTheSameFromItsFilesAsMadeWhenLoading) {
  const TempDir dir;
  for (const size_t shard_bytes : {size_t(1) << 30, size_t(500'000)}) {
    const std::string out = dir / std::to_string(shard_bytes);
    const Status written = write(GetParam().how, out, shard_bytes);
    ASSERT_TRUE(written.ok()) << written.to_string();
    EXPECT_EQ(fs::exists(out + "/model.safetensors.index.json"), shard_bytes == 500'000);
    EXPECT_TRUE(fs::exists(out + "/tokenizer.json") && fs::exists(out + "/chat_template.jinja"));
    const auto loaded = engine(out), made = engine(kModel, GetParam().how);
    ASSERT_TRUE(loaded && made);
    EXPECT_EQ(loaded->model().weight_bytes(), made->model().weight_bytes());
    const std::vector<float> got = logits(*loaded), want = logits(*made);
    ASSERT_EQ(got.size(), want.size());
    EXPECT_EQ(std::memcmp(got.data(), want.data(), want.size() * sizeof(float)), 0);
    for (const std::string& note : loaded->notes()) EXPECT_EQ(note.find("ignored"), std::string::npos) << note;
  }
  for (const auto& entry : fs::directory_iterator(dir.root())) EXPECT_EQ(entry.path().string().find(".tmp"), std::string::npos);
}

TEST_P(Quantized, StaysNearTheOriginal) {
  const auto original = engine(kModel), made = engine(kModel, GetParam().how);
  ASSERT_TRUE(original && made);
  const double d = distance(logits(*made), logits(*original));
  EXPECT_LT(d, GetParam().most);
  EXPECT_GT(d, 0);  // it is quantised
  EXPECT_LT(made->model().weight_bytes(), original->model().weight_bytes());
}

std::vector<Way> ways() {
  return {{"int8_rows", quantize_as(CodeType::kInt8, 0), 0.05},
          {"int8_groups", quantize_as(CodeType::kInt8, 32), 0.05},
          {"int4", quantize_as(CodeType::kInt4, 32), 0.3},
          {"int4_but_the_table", quantize_as(CodeType::kInt4, 64, true), 0.3},
          {"int4_the_table_too", {.layers = {CodeType::kInt4, 32}, .table = WeightScheme{CodeType::kInt4, 32}}, 0.3}};
}
INSTANTIATE_TEST_SUITE_P(Ways, Quantized, ::testing::ValuesIn(ways()), [](const auto& info) { return info.param.name; });

TEST(QuantizedFiles, Fp8InBlocksIsWhatItsNumbersSay) {
  const Fp8Checkpoint files(kModel);
  // Activations are bf16 in both, so that only the order of sums differs, and what it makes of roundings to bf16.
  const auto fp8 = engine(files.fp8(), {}, DTypeChoice::kBF16), fp32 = engine(files.fp32(), {}, DTypeChoice::kBF16);
  ASSERT_TRUE(fp8 && fp32);
  EXPECT_LT(distance(logits(*fp8), logits(*fp32)), 5e-3);
  EXPECT_LT(fp8->model().weight_bytes(), fp32->model().weight_bytes() / 2);
}

// The message of loading what a change of the quantised copy's config.json makes of it.
class Disagreements : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(write(quantize_as(CodeType::kInt4, 32), dir_ / "q").ok()); }
  template <class Change>
  std::string message(Change change) {
    json::object config = config_of(dir_ / "q");
    change(config, config["quantization_config"].as_object());
    const TempDir other;
    other.write("config.json", json::serialize(config));
    fs::create_symlink(dir_ / "q/model.safetensors", other / "model.safetensors");
    return load_model(other.root(), {}).status().message().substr(other.root().size());
  }
  TempDir dir_;
};

TEST_F(Disagreements, AreNamed) {
  const std::string wrong = ": the weights do not fit config.json: ";
  EXPECT_TRUE(
      message([](json::object& c, json::object&) {
        c.erase("quantization_config");
      }).starts_with(wrong + "model.embed_tokens has int8 in groups of 32, quantization_config says no quantised weights; "))
      << message([](json::object& c, json::object&) { c.erase("quantization_config"); });
  EXPECT_TRUE(message([](json::object&, json::object& q) {
                q["config_groups"].as_object()["group_table"].as_object()["weights"].as_object()["group_size"] = 64;
              }).starts_with(wrong + "model.embed_tokens has int8 in groups of 32, quantization_config says int8 in groups of 64"));
  EXPECT_EQ(message([](json::object&, json::object& q) { q["ignore"].as_array().push_back("model.layers.3.mlp.up_proj"); }),
            wrong + "model.layers.3.mlp.up_proj has int4 in groups of 32, quantization_config says no quantised weights");
  EXPECT_EQ(message([](json::object&, json::object& q) {
              json::array& left = q["ignore"].as_array();
              left.erase(std::ranges::find(left, json::value("model.layers.1.linear_attn.in_proj_a")));
            }),
            wrong + "model.layers.1.linear_attn.in_proj_a has no quantised weights, quantization_config says int4 in groups of 32");
}

TEST(QuantizedFiles, WhatCannotBeDoneIsOneLine) {
  const TempDir dir;
  const Quantize int4 = quantize_as(CodeType::kInt4, 32);
  ASSERT_TRUE(write(int4, dir / "q").ok());
  EXPECT_EQ(write(int4, dir / "q").message(), dir / "q: is there already");
  EXPECT_EQ(write(int4, dir / "none/q").message(), dir / "none/q: cannot create: No such file or directory");
  const Status groups = write(quantize_as(CodeType::kInt4, 128), dir / "groups");
  EXPECT_EQ(groups.message(), kModel + ": model.embed_tokens has 192 columns, which groups of 128 do not divide");
  EXPECT_EQ(groups.hint(), "use --group-size 32");
  EXPECT_FALSE(fs::exists(dir / "groups"));
  EXPECT_EQ(load_model(dir / "q", {.quantize = int4}).status().message(), dir / "q: the checkpoint is quantised already");
  Context gpu;
  gpu.device = {DeviceKind::kCuda, 0};
  EXPECT_EQ(load_model(dir / "q", {.where = gpu}).status().message(),
            dir / "q: quantised weights are multiplied on the CPU only so far");
  EXPECT_EQ(load_model(kModel, {.where = gpu, .quantize = int4}).status().message(),
            kModel + ": quantised weights are multiplied on the CPU only so far");
  for (const auto& entry : fs::directory_iterator(dir.root())) EXPECT_EQ(entry.path().filename(), "q");  // no half of one is left
}

}  // namespace
}  // namespace sluice
