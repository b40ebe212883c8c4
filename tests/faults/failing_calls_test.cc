// The library's readers of files while the nth of their calls fails: a Status that names the file and says why, or the same result.
#include "tests/faults/failing_calls.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <system_error>

#include "io/checkpoint.h"
#include "io/json.h"
#include "io/mapped_file.h"
#include "io/model_config.h"
#include "tests/support/temp_dir.h"
#include "text/chat.h"
#include "text/tokenizer.h"

namespace sluice {
namespace {

using testing::Control;
using testing::TempDir;

const std::string kModel = SLUICE_SOURCE_DIR "/demo/model";
constexpr int64_t kForever = INT64_MAX;

// While it lives calls are counted, and those of a kind from `first` to `last` fail.
class Failing {
 public:
  Failing(testing::CallKind kind, int64_t first, int64_t last, int64_t error) {
    control_.kind = kind, control_.first = first, control_.last = last, control_.error = error;
    testing::control_calls(&control_);
  }
  ~Failing() { testing::control_calls(nullptr); }
  Failing(const Failing&) = delete;
  Failing& operator=(const Failing&) = delete;
  int64_t failed() const { return control_.failed; }

 private:
  Control control_{};
};

// The status of a reader whose result, if it has one, was found to be right.
using Reader = std::function<Status()>;

// Runs the reader, the nth call fails, for each n until there are no more. What failed is given to `expect`.
int64_t with_every_failure(testing::CallKind kind, bool for_good, int64_t error, const Reader& reader,
                           const std::function<void(const Status&, int64_t n)>& expect) {
  for (int64_t n = 1;; ++n) {
    Status status;
    int64_t failed = 0;
    {
      const Failing failing(kind, n, for_good ? kForever : n, error);
      status = reader();
      failed = failing.failed();
    }
    if (failed == 0) {
      EXPECT_TRUE(status.ok()) << status.to_string();
      return n - 1;
    }
    expect(status, n);
    if (::testing::Test::HasFailure()) return n;
  }
}

void expect_errors_that_name_a_file(const std::string& dir, const Reader& reader) {
  ASSERT_TRUE(reader().ok());
  const std::string reason = std::generic_category().message(EIO);
  const int64_t calls = with_every_failure(testing::kRead, false, EIO, reader, [&](const Status& s, int64_t n) {
    EXPECT_EQ(s.code(), Code::kIo) << n << ": " << s.to_string();
    EXPECT_TRUE(s.message().starts_with(dir)) << s.message();
    EXPECT_TRUE(s.message().ends_with(": " + reason)) << s.message();
  });
  EXPECT_GE(calls, 2);
  for (const auto& [error, for_good] :
       {std::pair<int64_t, bool>{EINTR, false}, {testing::kShortRead, false}, {testing::kShortRead, true}})
    with_every_failure(testing::kRead, for_good, error, reader,
                       [&](const Status& s, int64_t n) { EXPECT_TRUE(s.ok()) << n << ": " << s.to_string(); });
}

template <class Load>
Status status_of(Load load) {
  const auto loaded = load();
  return loaded.status();
}

TEST(FailingReads, OfATokenizer) {
  expect_errors_that_name_a_file(kModel, [] { return status_of([] { return Tokenizer::load(kModel); }); });
}
TEST(FailingReads, OfAChatTemplate) {
  expect_errors_that_name_a_file(kModel, [] { return status_of([] { return ChatTemplate::load(kModel); }); });
}
TEST(FailingReads, OfConfigs) {
  expect_errors_that_name_a_file(kModel, [] { return status_of([] { return load_model_config(kModel); }); });
  expect_errors_that_name_a_file(kModel, [] { return status_of([] { return load_generation_config(kModel); }); });
}
TEST(FailingReads, OfACheckpoint) {
  expect_errors_that_name_a_file(kModel, [] { return status_of([] { return Checkpoint::open(kModel); }); });
}

TEST(FailingReads, OfShards) {
  TempDir dir;
  const float values[4] = {1, 2, 3, 4};
  for (const std::string name : {"a", "b"}) {
    const std::pair<std::string, Tensor> tensor{name, Tensor::of(values, {2, 2})};
    ASSERT_TRUE(write_safetensors(dir / (name + ".safetensors"), {&tensor, 1}).ok());
  }
  dir.write("model.safetensors.index.json", R"({"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}})");
  expect_errors_that_name_a_file(dir.root(), [&]() -> Status {
    SLUICE_ASSIGN_OR_RETURN(const Checkpoint c, Checkpoint::open(dir.root()));
    const Tensor* b = c.find("b");
    EXPECT_TRUE(b && c.names().size() == 2);
    float copy[4] = {};
    SLUICE_RETURN_IF_ERROR(c.read(b->data, sizeof copy, reinterpret_cast<std::byte*>(copy)));
    EXPECT_EQ(std::memcmp(copy, values, sizeof copy), 0);
    return {};
  });
}

void expect_out_of_memory(const Reader& reader) {
  ASSERT_TRUE(reader().ok());  // what is made once and kept is there now
  for (const bool for_good : {false, true}) {
    int64_t errors = 0;
    with_every_failure(testing::kAllocation, for_good, 0, reader, [&](const Status& s, int64_t n) {
      // A pattern that there was no memory to compile for the CPU is interpreted.
      EXPECT_TRUE(s.ok() || s.message().ends_with("out of memory")) << "allocation " << n << ": " << s.message();
      errors += !s.ok();
    });
    EXPECT_GE(errors, 10);
  }
}

// A tokenizer whose regular expression has memory of its own.
TEST(FailingAllocations, OfATokenizerWithAPattern) {
  TempDir dir;
  std::string vocab;
  for (int b = 0, next = 256; b < 256; ++b) {
    const bool itself = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;  // or a character that stands for the byte
    const int code = itself ? b : next++;
    std::string spelled = code == '"' || code == '\\' ? "\\" : "";
    if (code < 0x80) spelled += char(code);
    else spelled += {char(0xC0 | (code >> 6)), char(0x80 | (code & 0x3F))};
    vocab += (b > 0 ? ",\"" : "\"") + spelled + "\":" + std::to_string(b);
  }
  dir.write("tokenizer.json",
            R"({"model": {"type": "BPE", "vocab": {)" + vocab + R"(}, "merges": []}, "decoder": {"type": "ByteLevel"},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": "\\p{L}+(?=x)|[^a]"}, "behavior": "Isolated"}, {"type": "ByteLevel", "use_regex": false, "add_prefix_space": false}]}})");
  const auto loaded = Tokenizer::load(dir.root());
  ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
  EXPECT_EQ(loaded->encode("ab", false), (std::vector<int32_t>{'a', 'b'}));
  const std::string root = dir.root();
  expect_out_of_memory([&] { return status_of([&] { return Tokenizer::load(root); }); });
}

TEST(FailingAllocations, OfAChatTemplate) {
  TempDir dir;
  dir.write("tokenizer_config.json", R"({"eos_token": {"content": "a token that is longer than a small string"}})");
  dir.write("chat_template.jinja", "{% for m in messages %}{{ m.role + ': ' + m.content }}{% endfor %}{{ eos_token }}");
  const std::string root = dir.root();
  expect_out_of_memory([&] { return status_of([&] { return ChatTemplate::load(root); }); });
}

}  // namespace
}  // namespace sluice
