#include "io/safetensors.h"

#include <signal.h>
#include <sys/resource.h>

#include <cstring>
#include <numeric>
#include <random>

#include "tests/support/temp_dir.h"

namespace sluice {
namespace {

using sluice::testing::TempDir;

std::string prefix(uint64_t length) {
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[i] = char(length >> (8 * i));
  return bytes;
}

// A file with this header and as many bytes of data.
std::string file_of(const std::string& header, size_t data_bytes) {
  return prefix(header.size()) + header + std::string(data_bytes, '\1');
}

std::string entry(const std::string& name, const std::string& shape, const std::string& offsets, const std::string& dtype = "F32") {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}
std::string header_of(std::initializer_list<std::string> entries) {
  std::string text = "{";
  for (const auto& e : entries) text += (text.size() > 1 ? "," : "") + e;
  return text + "}";
}

// The message without the byte of the header, which is tested once.
std::string without_place(const std::string& message) { return message.substr(0, message.find(" (at byte ")); }

struct BadFile {
  std::string bytes, message;  // what follows "PATH: "
  Code code = Code::kBadFile;
};

class SafetensorsTest : public ::testing::Test {
 protected:
  void expect_refused(const std::vector<BadFile>& files) {
    for (const BadFile& bad : files) {
      const std::string path = dir_.write("bad.safetensors", bad.bytes);
      const auto file = SafetensorsFile::open(path);
      ASSERT_FALSE(file.ok()) << bad.message;
      EXPECT_EQ(without_place(file.status().message()), path + ": " + bad.message);
      EXPECT_EQ(file.status().code(), bad.code) << bad.message;
    }
  }
  SafetensorsFile open_ok(const std::string& bytes) {
    auto file = SafetensorsFile::open(dir_.write("good.safetensors", bytes));
    EXPECT_TRUE(file.ok()) << file.status().message();
    return std::move(file).value();
  }
  TempDir dir_;
};

TEST_F(SafetensorsTest, RefusesBadSizesAndHeaders) {  // fault row 1
  const std::string good = header_of({entry("a", "[1]", "[0,4]")});
  expect_refused({
      {"", "has 0 bytes, wanted at least 8 for the header's length"},
      {std::string(7, '\0'), "has 7 bytes, wanted at least 8 for the header's length"},
      {std::string(8, '\0'), "header begins with '', wanted '{'"},
      {prefix(uint64_t(1) << 63) + good, "header length is 9223372036854775808, wanted at most 100000000"},
      {prefix(UINT64_MAX) + good, "header length is 18446744073709551615, wanted at most 100000000"},
      {prefix(100'000'001) + good, "header length is 100000001, wanted at most 100000000"},
      {prefix(100'000'000) + good, "header length is 100000000, the file has 54 bytes after it"},
      {prefix(55) + good, "header length is 55, the file has 54 bytes after it"},
      {file_of(" " + good, 4), "header begins with ' ', wanted '{'"},
      {file_of("[]", 0), "header begins with '[', wanted '{'"},
      {file_of("{", 0), "header: not valid JSON: incomplete JSON at byte 1"},
      {file_of("{}x", 0), "header: not valid JSON: extra data at byte 2"},
      {file_of("{\"\xff\":1}", 0), "header: not valid JSON: invalid UTF-8 at byte 2"},
      {file_of(good, 4) + "junk", "header: the file has 8 bytes of data, wanted 4, the end of tensor 'a'"},
      {file_of("{}", 1), "header: the file has 1 bytes of data, wanted 0, the start of the data"},
      {file_of("{\"__metadata__\":{\"a\":1}}", 0), "header: __metadata__ 'a': is 1, wanted text"},
      {file_of("{\"__metadata__\":[]}", 0), "header: tensor '__metadata__': is a list, wanted an object"},
      {file_of("{\"__metadata__\":{\"a\":\"\",\"a\":\"\"}}", 0), "header: __metadata__ has key 'a' twice"},
      {file_of("{\"__metadata__\":{},\"__metadata__\":{}}", 0), "header: key '__metadata__' comes twice"},
  });
}

TEST_F(SafetensorsTest, RefusesBadOffsets) {  // fault row 2
  const auto one = [](const std::string& offsets) { return file_of(header_of({entry("a", "[1]", offsets)}), 4); };
  expect_refused({
      {one("[4,0]"), "header: tensor 'a': data_offsets [4, 0] are reversed, wanted begin <= end"},
      {one("[0]"), "header: tensor 'a': data_offsets has 1 entries, wanted 2"},
      {one("[0,4,4]"), "header: tensor 'a': data_offsets has 3 entries, wanted 2"},
      {one("[0,4.0]"), "header: tensor 'a': data_offsets holds 4.0, wanted integers from 0 to 2^63 - 1"},
      {one("[-1,3]"), "header: tensor 'a': data_offsets holds -1, wanted integers from 0 to 2^63 - 1"},
      {one("[0,1e30]"), "header: tensor 'a': data_offsets holds 1e30, wanted integers from 0 to 2^63 - 1"},
      {one("[0,9223372036854775808]"),
       "header: tensor 'a': data_offsets holds 9223372036854775808, wanted integers from 0 to 2^63 - 1"},
      {one("\"0,4\""), "header: tensor 'a': data_offsets is '0,4', wanted a list of integers"},
      {one("[[0],4]"), "header: tensor 'a': data_offsets holds a list, wanted integers from 0 to 2^63 - 1"},
      {one("[0,8]"), "header: tensor 'a': data_offsets [0, 8] hold 8 bytes, wanted 4 for shape [1] of F32"},
      {one("[4,8]"), "header: tensor 'a': begins at byte 4 of the data, wanted 0, the start of the data"},
      {file_of(header_of({entry("a", "[2]", "[0,8]")}), 4), "header: tensor 'a': ends at byte 8 of the data, the file has 4"},
      {file_of(header_of({entry("a", "[1]", "[0,4]"), entry("b", "[1]", "[8,12]")}), 12),
       "header: tensor 'b': begins at byte 8 of the data, wanted 4, the end of tensor 'a'"},
      {file_of(header_of({entry("a", "[2]", "[0,8]"), entry("b", "[2]", "[4,12]")}), 12),
       "header: tensor 'b': begins at byte 4 of the data, wanted 8, the end of tensor 'a'"},
      {file_of(header_of({entry("a", "[2]", "[0,8]"), entry("b", "[2]", "[0,8]")}), 8),
       "header: tensor 'b': begins at byte 0 of the data, wanted 8, the end of tensor 'a'"},
      {file_of(header_of({entry("a", "[1]", "[0,4]")}), 6),
       "header: the file has 6 bytes of data, wanted 4, the end of tensor 'a'"},
  });
}

TEST_F(SafetensorsTest, RefusesBadShapesTypesAndKeys) {  // fault row 3
  const auto shaped = [](const std::string& shape, const std::string& dtype = "F32") {
    return file_of(header_of({entry("a", shape, "[0,4]", dtype)}), 4);
  };
  const std::string types = ", wanted F32, BF16, F16, F64, F8_E4M3, F8_E5M2, BOOL or an integer type I8 to U64";
  expect_refused({
      {shaped("[4294967296,4294967296]"), "header: tensor 'a': shape [4294967296, 4294967296] of F32 has more than 2^63 - 1 bytes"},
      {shaped("[9223372036854775808,2]"),
       "header: tensor 'a': shape holds 9223372036854775808, wanted integers from 0 to 2^63 - 1"},
      {shaped("[4611686018427387904,2]"), "header: tensor 'a': shape [4611686018427387904, 2] of F32 has more than 2^63 - 1 bytes"},
      {shaped("[0,4294967296,4294967296]"),
       "header: tensor 'a': shape [0, 4294967296, 4294967296] of F32 has more than 2^63 - 1 bytes"},
      {shaped("[0]"), "header: tensor 'a': data_offsets [0, 4] hold 4 bytes, wanted 0 for shape [0] of F32"},
      {shaped("[1,1,1,1,1,1,1,1,1]"), "header: tensor 'a': has 9 dimensions, wanted at most 5"},
      {shaped("[1.5]"), "header: tensor 'a': shape holds 1.5, wanted integers from 0 to 2^63 - 1"},
      {shaped("[-1]"), "header: tensor 'a': shape holds -1, wanted integers from 0 to 2^63 - 1"},
      {shaped("4"), "header: tensor 'a': shape is 4, wanted a list of integers"},
      {shaped("null"), "header: tensor 'a': shape is null, wanted a list of integers"},
      {shaped("[1]", "FP32"), "header: tensor 'a': has unknown dtype 'FP32'" + types + ""},
      {shaped("[8]", "F4"), "header: tensor 'a': has dtype F4, which Sluice does not read" + types + "", Code::kUnsupported},
      {shaped("[5]", "F6_E2M3"), "header: tensor 'a': has dtype F6_E2M3, which Sluice does not read" + types + "",
       Code::kUnsupported},
      {file_of(header_of({entry("a", "[1]", "[0,4]"), entry("a", "[1]", "[4,8]")}), 8), "header: tensor 'a' comes twice"},
      {file_of("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 0), "header: tensor 'a': has dtype twice"},
      {file_of("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 0), "header: tensor 'a': data_offsets is missing"},
      {file_of("{\"a\":{}}", 0), "header: tensor 'a': dtype is missing"},
      {file_of("{\"a\":{\"bits\":4}}", 0), "header: tensor 'a': has field 'bits', wanted dtype, shape and data_offsets only"},
      {file_of("{\"a\":3}", 0), "header: tensor 'a': is 3, wanted an object"},
      {file_of("{\"a\":true}", 0), "header: tensor 'a': is true, wanted an object"},
      {file_of("{\"a\":false}", 0), "header: tensor 'a': is false, wanted an object"},
      {file_of("{\"a\\n\\u0000\":3}", 0), "header: tensor 'a\\x0a\\x00': is 3, wanted an object"},
  });
}

TEST(SafetensorsHeader, NamesTheByteOfTheHeader) {
  const auto header = parse_safetensors_header(R"({"a": {"dtype": "F32", "dtype": "F32"}})", 0, "f");
  EXPECT_EQ(header.status().message(), "f: tensor 'a': has dtype twice (at byte 29)");
  for (const auto& [text, found] : {std::pair("[]", "a list"), {"3", "3"}, {"true", "true"}, {"null", "null"}})
    EXPECT_EQ(without_place(parse_safetensors_header(text, 0, "f").status().message()),
              std::string("f: is ") + found + ", wanted an object");
}

// Random damage to a good header: refused, or every range lies within the data.
TEST(SafetensorsHeader, SurvivesDamage) {
  const std::string good =
      header_of({"\"__metadata__\":{\"k\":\"v\"}", entry("a", "[2,3]", "[0,24]"), entry("b", "[]", "[24,32]", "I64"),
                 entry("c", "[0,5]", "[32,32]", "U8"), entry("d", "[4]", "[32,40]", "BF16")});
  ASSERT_TRUE(parse_safetensors_header(good, 40, "f").ok());
  const std::string_view alphabet = "{}[]:,\"\\0123456789.-eEauF_ \xff";
  std::minstd_rand random(1);
  int accepted = 0;
  for (int trial = 0; trial < 5'000; ++trial) {
    std::string bad = good;
    for (int i = 0; i <= trial % 3; ++i) {
      const size_t at = random() % bad.size();
      const char c = alphabet[random() % alphabet.size()];
      switch (random() % 4) {
        case 0:
          bad.erase(at, 1 + random() % 8);
          break;
        case 1:
          bad.insert(at, 1, c);
          break;
        default:
          bad[at] = c;
      }
    }
    const auto header = parse_safetensors_header(bad, 40, "f");
    if (!header.ok()) continue;
    ++accepted;
    for (const SafetensorsEntry& e : header->entries)
      EXPECT_TRUE(e.begin <= e.end && e.end <= 40 && e.rank <= Tensor::kMaxRank) << bad;
  }
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, 2'500);
}

TEST(SafetensorsHeader, TakesManyTensorsAndRefusesAMillion) {  // fault row 3
  const auto parse = [](size_t count) {
    std::string text = "{";
    for (size_t i = 0; i < count; ++i) {
      const std::string n = std::to_string(i);
      text += (i ? "," : "") + entry(n, "[1]", "[" + n + "," + std::to_string(i + 1) + "]", "U8");
    }
    return parse_safetensors_header(text + "}", count, "f");
  };
  const auto many = parse(60'000);
  ASSERT_TRUE(many.ok()) << many.status().message();
  EXPECT_EQ(many->names.size(), 60'000u);
  EXPECT_EQ(many->entries[many->index.at("59999")].begin, 59'999u);
  EXPECT_EQ(without_place(parse(1'000'000).status().message()), "f: more than 65536 tensors, the most in one file");
}

TEST_F(SafetensorsTest, GivesTensorsByNameInTheHeadersOrder) {
  const std::string header = header_of({"\"__metadata__\":{\"format\":\"pt\"}", entry("later", "[2,3]", "[6,18]", "BF16"),
                                        entry("caf\\u00e9", "[6]", "[0,6]", "U8"), entry("none", "[0,7]", "[6,6]", "F64"),
                                        entry("scalar", "[]", "[18,26]", "I64")}) +
                             "      ";
  const SafetensorsFile file = open_ok(file_of(header, 26));
  EXPECT_EQ(file.names(), (std::vector<std::string>{"later", "caf\xc3\xa9", "none", "scalar"}));
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "pt"}}));
  EXPECT_EQ(file.find("missing"), nullptr);
  const Tensor* later = file.find("later");
  ASSERT_TRUE(later);
  EXPECT_EQ(later->dtype, DType::kBF16);
  EXPECT_EQ(later->shape_string(), "[2, 3]");
  EXPECT_TRUE(later->contiguous());
  EXPECT_EQ(file.find("none")->numel(), 0);
  EXPECT_EQ(file.find("scalar")->shape_string(), "[1]");
  EXPECT_EQ(*file.find("scalar")->as<int64_t>(), 0x0101010101010101);
}

TEST_F(SafetensorsTest, AlignsWhatTheFileDoesNot) {
  for (size_t padding = 0; padding < 8; ++padding) {
    std::string bytes = file_of(header_of({entry("a", "[2]", "[0,8]")}) + std::string(padding, ' '), 0);
    const float values[2] = {1.5f, -2};
    bytes.append(reinterpret_cast<const char*>(values), sizeof(values));
    const SafetensorsFile file = open_ok(bytes);
    const Tensor* a = file.find("a");
    ASSERT_TRUE(a);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(a->data) % alignof(float), 0u);
    EXPECT_EQ(a->as<float>()[0], 1.5f);
    EXPECT_EQ(a->as<float>()[1], -2);
  }
}

TEST_F(SafetensorsTest, ReadsBackWhatItWrote) {
  std::vector<uint8_t> bytes = {1, 2, 3};
  std::vector<float> numbers(24);
  std::iota(numbers.begin(), numbers.end(), 0.f);
  Tensor rows = Tensor::of(numbers.data(), {4, 6}).slice(1, 1, 3);
  Tensor transposed = Tensor::of(numbers.data(), {4, 6});
  std::swap(transposed.shape[0], transposed.shape[1]), std::swap(transposed.stride[0], transposed.stride[1]);
  const std::vector<std::pair<std::string, Tensor>> tensors = {{"bytes", Tensor::of(bytes.data(), {3})},
                                                               {"rows", rows},
                                                               {"t\n\xc3\xa9", transposed},
                                                               {"none", Tensor::of(numbers.data(), {5, 0})}};
  const std::string path = dir_ / "out.safetensors";
  const Status written = write_safetensors(path, tensors, {{"k", "v\""}});
  ASSERT_TRUE(written.ok()) << written.message();

  const auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->names(), (std::vector<std::string>{"bytes", "rows", "t\n\xc3\xa9", "none"}));
  EXPECT_EQ(file->metadata(), (std::map<std::string, std::string>{{"k", "v\""}}));
  EXPECT_EQ(std::memcmp(file->find("bytes")->data, bytes.data(), 3), 0);
  const float* r = file->find("rows")->as<float>();
  for (int i = 0; i < 8; ++i) EXPECT_EQ(r[i], float(i / 2 * 6 + i % 2 + 1)) << i;
  const Tensor* t = file->find("t\n\xc3\xa9");
  EXPECT_EQ(t->shape_string(), "[6, 4]");
  for (int i = 0; i < 24; ++i) EXPECT_EQ(t->as<float>()[i], float(i % 4 * 6 + i / 4)) << i;
  EXPECT_EQ(file->find("none")->shape_string(), "[5, 0]");

  const auto mapped = MappedFile::open(path);
  EXPECT_EQ(uint64_t((*mapped).bytes()[0]) % 8, 0u) << "header padded to 8 bytes";
}

TEST_F(SafetensorsTest, WritesBigTensorsWhole) {
  std::vector<float> numbers(300'000);
  std::iota(numbers.begin(), numbers.end(), 0.f);
  const std::vector<std::pair<std::string, Tensor>> tensors = {
      {"small", Tensor::of(numbers.data(), {3})},
      {"big", Tensor::of(numbers.data(), {300'000})},
      {"columns", Tensor::of(numbers.data(), {3000, 100}).slice(1, 0, 99)}};
  const std::string path = dir_ / "out.safetensors";
  ASSERT_TRUE(write_safetensors(path, tensors).ok());
  const auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(std::memcmp(file->find("big")->data, numbers.data(), numbers.size() * sizeof(float)), 0);
  EXPECT_EQ(file->find("columns")->as<float>()[99 * 2999 + 98], 299'998.f);
}

TEST_F(SafetensorsTest, ShowsEachTensorThatWasWritten) {
  const std::vector<double> numbers(4);
  const std::vector<std::pair<std::string, Tensor>> tensors = {
      {"a", Tensor::of(reinterpret_cast<const uint8_t*>(numbers.data()), {3})},
      {"b", Tensor::of(numbers.data(), {4})},
      {"c", Tensor::of(reinterpret_cast<const float*>(numbers.data()), {5})}};
  std::vector<size_t> shown;
  ASSERT_TRUE(write_safetensors(dir_ / "out.safetensors", tensors, {}, [&](size_t bytes) { shown.push_back(bytes); }).ok());
  EXPECT_EQ(shown, (std::vector<size_t>{32, 20, 3}));  // by falling size of element
}

// A full disk, as the limit of a file's size.
TEST_F(SafetensorsTest, SaysWhenTheDiskIsFullAndLeavesNothing) {
  const std::vector<float> numbers(1 << 20);
  const Tensor whole = Tensor::of(numbers.data(), {1 << 10, 1 << 10});
  Tensor transposed = whole;
  std::swap(transposed.stride[0], transposed.stride[1]);
  std::vector<std::pair<std::string, Tensor>> many;
  for (int i = 0; i < 10'000; ++i) many.emplace_back(std::string(100, 'x') + std::to_string(i), Tensor::of(numbers.data(), {1}));
  const std::string path = dir_ / "out.safetensors";
  std::vector<Status> found;
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{1 << 20, before.rlim_max};
  ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  for (const auto& tensors : {std::vector{std::pair(std::string("whole"), whole)}, {{"transposed", transposed}}, many})
    found.push_back(write_safetensors(path, tensors));
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, SIG_DFL);
  for (const Status& s : found) EXPECT_EQ(s.message(), path + ": cannot write: File too large");
  EXPECT_TRUE(std::filesystem::is_empty(dir_.root()));
}

TEST_F(SafetensorsTest, RefusesToWriteWhatCouldNotBeRead) {
  const float x = 0;
  const Tensor t = Tensor::of(&x, {1});
  const std::string path = dir_ / "out.safetensors";
  const auto refusal = [&](std::vector<std::pair<std::string, Tensor>> tensors) {
    const Status s = write_safetensors(path, tensors);
    EXPECT_EQ(s.code(), Code::kInvalidArgument);
    return without_place(s.message());
  };
  EXPECT_EQ(refusal({{"a", Tensor()}}), path + ": tensor 'a' is absent, wanted rank 1 to 5");
  EXPECT_EQ(refusal({{"a", t}, {"a", t}}), path + ": header: tensor 'a' comes twice");
  EXPECT_EQ(refusal({{"\xff", t}}), path + ": header: not valid JSON: invalid UTF-8 at byte 2");
  EXPECT_EQ(refusal({{"__metadata__", t}}), path + ": header: __metadata__ 'shape': is a list, wanted text");
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(SafetensorsTest, LeavesTheOldFileWhereWritingFails) {
  const float x = 7;
  const std::vector<std::pair<std::string, Tensor>> tensors = {{"a", Tensor::of(&x, {1})}};
  const std::string nowhere = dir_ / "missing/out.safetensors";
  EXPECT_EQ(write_safetensors(nowhere, tensors).code(), Code::kNotFound);
  std::filesystem::create_directory(dir_ / "taken");
  dir_.write("taken/x", "x");
  const Status s = write_safetensors(dir_ / "taken", tensors);
  EXPECT_EQ(s.code(), Code::kIo) << s.message();
  for (const auto& left : std::filesystem::directory_iterator(dir_.root()))
    EXPECT_EQ(left.path().filename(), "taken") << "a temporary file was left";
}

TEST(SafetensorsOracle, ReadsTheOperatorCases) {
  const auto file = SafetensorsFile::open(SLUICE_TEST_DATA "/oracles/ops/l2norm/strided_rows.safetensors");
  ASSERT_TRUE(file.ok()) << file.status().message();
  const Tensor* y = file->find("out.y");
  ASSERT_TRUE(y);
  EXPECT_EQ(y->dtype, DType::kF32);
  EXPECT_EQ(y->shape_string(), "[13, 3, 128]");
  double squares = 0;  // a row of an l2norm has length 1
  for (int i = 0; i < 128; ++i) squares += double(y->as<float>()[i]) * y->as<float>()[i];
  EXPECT_NEAR(squares, 1, 1e-4);
}

}  // namespace
}  // namespace sluice
