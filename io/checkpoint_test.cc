#include "io/checkpoint.h"

#include "tests/support/temp_dir.h"

namespace sluice {
namespace {

using sluice::testing::TempDir;
namespace fs = std::filesystem;

class CheckpointTest : public ::testing::Test {
 protected:
  void shard(const std::string& name, std::initializer_list<std::string> tensors) {
    static const float values[4] = {1, 2, 3, 4};
    std::vector<std::pair<std::string, Tensor>> list;
    for (const auto& t : tensors) list.emplace_back(t, Tensor::of(values, {2, 2}));
    fs::create_directories(fs::path(dir_ / name).parent_path());
    const Status s = write_safetensors(dir_ / name, list);
    ASSERT_TRUE(s.ok()) << s.message();
  }
  void index(const std::string& weight_map) {
    dir_.write("model.safetensors.index.json", R"({"metadata": {}, "weight_map": )" + weight_map + "}");
  }
  std::string refusal() { return Checkpoint::open(dir_.root()).status().message(); }
  std::string index_path() { return dir_ / "model.safetensors.index.json"; }

  TempDir dir_;
};

TEST_F(CheckpointTest, OpensOneFile) {
  shard("model.safetensors", {"b", "a"});
  const auto c = Checkpoint::open(dir_.root());
  ASSERT_TRUE(c.ok()) << c.status().message();
  EXPECT_EQ(c->names(), (std::vector<std::string>{"b", "a"}));
  EXPECT_EQ(c->total_bytes(), 32u);
  EXPECT_EQ(c->files, (std::vector<std::string>{dir_ / "model.safetensors"}));
  EXPECT_TRUE(c->warnings.empty());
  EXPECT_EQ(c->find("a")->as<float>()[3], 4);
  EXPECT_EQ(c->find("c"), nullptr);
}

TEST_F(CheckpointTest, OpensShardsAndSurvivesAMove) {
  shard("x-2.safetensors", {"c"});
  shard("x-1.safetensors", {"b", "a"});
  index(R"({"a": "x-1.safetensors", "b": "x-1.safetensors", "c": "x-2.safetensors"})");
  auto opened = Checkpoint::open(dir_.root());
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const Checkpoint c = std::move(opened).value();
  EXPECT_EQ(c.names(), (std::vector<std::string>{"b", "a", "c"}));
  EXPECT_EQ(c.total_bytes(), 48u);
  EXPECT_EQ(c.files, (std::vector<std::string>{dir_ / "x-1.safetensors", dir_ / "x-2.safetensors"}));
  EXPECT_EQ(c.find("c")->shape_string(), "[2, 2]");
}

TEST_F(CheckpointTest, FollowsLinksAsInAHuggingFaceCache) {
  shard("blobs/0123", {"a"});
  fs::create_directories(dir_ / "snapshots/main");
  fs::create_symlink("../../blobs/0123", dir_ / "snapshots/main/model.safetensors");
  const auto c = Checkpoint::open(dir_ / "snapshots/main");
  ASSERT_TRUE(c.ok()) << c.status().message();
  EXPECT_TRUE(c->find("a"));
}

TEST_F(CheckpointTest, RefusesAFolderWithoutWeights) {
  EXPECT_EQ(refusal(), dir_.root() + ": has neither model.safetensors nor model.safetensors.index.json");
  EXPECT_EQ(Checkpoint::open(dir_ / "nowhere").status().code(), Code::kNotFound);
}

TEST_F(CheckpointTest, RefusesBadIndexes) {  // fault row 5
  shard("s.safetensors", {"a"});
  shard("t.safetensors", {"a", "b"});
  fs::create_directory(dir_ / "folder");
  fs::create_symlink("/dev/zero", dir_ / "zero");
  fs::create_symlink("gone", dir_ / "dangling");
  const std::string at_a = ": shard of tensor 'a' is ", wanted = ", wanted the name of a file in the same folder";
  const std::string no_map = ": weight_map is missing, empty or not an object, wanted {tensor: shard, ...}";
  const struct {
    std::string weight_map, message;
  } cases[] = {
      {R"({"a": "s.safetensors", "b": "u.safetensors"})", dir_ / "u.safetensors" + ": cannot open: No such file or directory"},
      {R"({"a": "dangling"})", dir_ / "dangling" + ": cannot open: No such file or directory"},
      {R"({"a": "../s.safetensors"})", index_path() + at_a + "'../s.safetensors'" + wanted},
      {R"({"a": "sub/s.safetensors"})", index_path() + at_a + "'sub/s.safetensors'" + wanted},
      {R"({"a": "/etc/passwd"})", index_path() + at_a + "'/etc/passwd'" + wanted},
      {R"({"a": "."})", index_path() + at_a + "'.'" + wanted},
      {R"({"a": ".."})", index_path() + at_a + "'..'" + wanted},
      {R"({"a": ""})", index_path() + at_a + "''" + wanted},
      {R"({"a": "s.safetensors\u0000x"})", index_path() + at_a + "'s.safetensors\\x00x'" + wanted},
      {R"({"a": 1})", index_path() + at_a + "not text, wanted a file name"},
      {R"({"a": "folder"})", dir_ / "folder" + ": is a directory, wanted a regular file"},
      {R"({"a": "zero"})", dir_ / "zero" + ": is a device, wanted a regular file"},
      {R"({"a": "s.safetensors", "b": "t.safetensors"})",
       dir_ / "t.safetensors" + ": has tensor 'a', which the index places in " + dir_ / "s.safetensors"},
      {R"({"a": "s.safetensors", "c": "s.safetensors"})",
       dir_ / "s.safetensors" + ": lacks tensor 'c', which " + index_path() + " places there"},
      {R"({"a": "s.safetensors", "a": "t.safetensors"})", index_path() + ": key 'a' comes twice in one object (at byte 56)"},
      {"{}", index_path() + no_map},
      {"[]", index_path() + no_map},
      {"null", index_path() + no_map},
      {"{", index_path() + ": not valid JSON: incomplete JSON at byte 33"},
  };
  for (const auto& c : cases) {
    index(c.weight_map);
    EXPECT_EQ(refusal(), c.message);
  }
  dir_.write("model.safetensors.index.json", "[]");
  EXPECT_EQ(refusal(), index_path() + no_map);
  dir_.write("model.safetensors.index.json", R"({"metadata": {}})");
  EXPECT_EQ(refusal(), index_path() + no_map);
}

TEST_F(CheckpointTest, RefusesMoreShardsThanCanBeMapped) {
  const auto index_of = [&](int shards) {
    std::string map;
    for (int i = 0; i < shards; ++i) map += (i ? ",\"" : "\"") + std::to_string(i) + "\":\"" + std::to_string(i) + ".safetensors\"";
    index("{" + map + "}");
  };
  index_of(1001);
  EXPECT_EQ(refusal(), index_path() + ": names 1001 shards, wanted at most 1000");
  index_of(1000);
  EXPECT_EQ(refusal(), dir_ / "0.safetensors" + ": cannot open: No such file or directory");
}

TEST_F(CheckpointTest, ReadsTensorsThatLieBadlyInTheirFile) {
  for (const std::string padding : {"", " "}) {
    const std::string header = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})" + padding;
    const float value = 1.5;
    std::string bytes = char(header.size()) + std::string(7, '\0') + header;
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    dir_.write("model.safetensors", bytes);
    const auto c = Checkpoint::open(dir_.root());
    ASSERT_TRUE(c.ok()) << c.status().message();
    float copy = 0;
    ASSERT_TRUE(c->read(c->find("a")->data, sizeof copy, reinterpret_cast<std::byte*>(&copy)).ok());
    EXPECT_EQ(copy, value);
  }
}

TEST_F(CheckpointTest, RefusesABadShard) {
  dir_.write("model.safetensors", "short");
  EXPECT_EQ(refusal(), dir_ / "model.safetensors" + ": has 5 bytes, wanted at least 8 for the header's length");
}

TEST_F(CheckpointTest, WarnsOfTensorsThatTheIndexDoesNotList) {  // fault row 5
  index(R"({"a": "s.safetensors"})");
  const auto warns = [&](const std::string& ignored) {
    const auto c = Checkpoint::open(dir_.root());
    ASSERT_TRUE(c.ok()) << c.status().message();
    EXPECT_EQ(c->names(), (std::vector<std::string>{"a"}));
    EXPECT_EQ(c->find("e1"), nullptr);
    EXPECT_EQ(c->warnings, (std::vector<std::string>{dir_ / "s.safetensors" + ": ignored " + ignored}));
  };
  shard("s.safetensors", {"a", "e1", "e2", "e3", "e4", "e5", "e6"});
  warns("6 tensors that the index does not list: 'e1', 'e2', 'e3', 'e4', 'e5', ...");
  shard("s.safetensors", {"a", "e1", "e2"});
  warns("2 tensors that the index does not list: 'e1', 'e2'");
}

TEST_F(CheckpointTest, PrefersTheOneFileAndSaysSo) {
  shard("model.safetensors", {"a"});
  index("{}");
  const auto c = Checkpoint::open(dir_.root());
  ASSERT_TRUE(c.ok()) << c.status().message();
  EXPECT_EQ(c->warnings, (std::vector<std::string>{index_path() + ": ignored, because model.safetensors is there"}));
}

TEST(CheckpointOracle, OpensTheOracleModels) {
  for (const std::string model : {"qwen3_5_text", "qwen3_5_wrapped_tied"}) {
    const auto c = Checkpoint::open(SLUICE_TEST_DATA "/oracles/models/" + model);
    ASSERT_TRUE(c.ok()) << c.status().message();
    const std::string stem = model == "qwen3_5_text" ? "model." : "model.language_model.";
    ASSERT_TRUE(c->find(stem + "embed_tokens.weight")) << model;
    EXPECT_EQ(c->find(stem + "embed_tokens.weight")->shape_string(), "[512, 64]");
    EXPECT_GT(c->total_bytes(), 500'000u);
  }
}

}  // namespace
}  // namespace sluice
