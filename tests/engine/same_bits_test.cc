// The promise of the open chunk: however a sequence is cut into steps, whatever runs beside it and on however many threads, the
// logits of every position have the same bits. Per instruction set, dtype and form of weights, and on a GPU with --batch-invariant,
// on the tests' model.
#include <gtest/gtest.h>

#include <cstring>

#include "core/gpu.h"
#include "models/quantize.h"
#include "tests/support/cut_sequences.h"
#include "tests/support/fp8_checkpoint.h"
#include "tests/support/test_model.h"

namespace sluice {
namespace {

using namespace testing;

constexpr int64_t kVocab = kTestModel.vocab, kMore = 64;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool kSlow = true;
#else
constexpr bool kSlow = false;
#endif
constexpr int64_t kPrompt = kSlow ? 140 : 300;

// Every operator that has implementation `impl` is forced to it; "" forces nothing.
ImplChoices force_everywhere(const std::string& impl, const CpuFeatures& cpu) {
  ImplChoices forced;
  for (const OpInfo& op : all_ops())
    for (const ImplInfo& i : op.impls)
      if (impl == i.name && cpu_has(cpu, i.isa).yes()) forced[op.name] = impl;
  return forced;
}

struct Variant {
  std::string impl;
  DTypeChoice dtype;
  Device device{};
  std::optional<Quantize> quantize = {};
  bool fp8 = false;  // a checkpoint with weights of that kind
  const char* weights = "";
};

class SameBits : public ::testing::TestWithParam<Variant> {
 protected:
  std::unique_ptr<Engine> engine(int threads, int64_t sequences = 1) {
    if (GetParam().fp8 && !fp8_) fp8_ = std::make_unique<Fp8Checkpoint>(kTestModel.path);
    auto e = Engine::create({.model = fp8_ ? fp8_->fp8() : kTestModel.path,
                             .random_weights = kTestModel.random_weights,
                             .dtype = GetParam().dtype,
                             .quantize = GetParam().quantize,
                             .device = GetParam().device,
                             .threads = threads,
                             .workspace = size_t(1) << 28,
                             .max_context = 1024,
                             .max_sequences = sequences,
                             .batch_invariant = true,
                             .impl = force_everywhere(GetParam().impl, usable_cpu_features().value())});
    EXPECT_TRUE(e.ok()) << e.status().to_string();
    return std::move(e).value();
  }
  std::unique_ptr<Fp8Checkpoint> fp8_;
  std::vector<int32_t> ids(uint64_t seed, int64_t count = kPrompt + kMore) { return random_ids(count, seed, kVocab); }

  static void expect_same(const std::vector<float>& got, const std::vector<float>& want, const std::string& what) {
    ASSERT_EQ(got.size(), want.size()) << what;
    const bool same = std::memcmp(got.data(), want.data(), want.size() * sizeof(float)) == 0;
    size_t first = 0;
    while (!same && std::memcmp(&got[first], &want[first], sizeof(float)) == 0) ++first;
    EXPECT_TRUE(same) << what << ": first difference at position " << first / kVocab;
  }
};

TEST_P(SameBits, HoweverTheSequenceIsCut) {
  const auto one = engine(1), two = engine(2, 5);
  const std::vector<int32_t> tokens = ids(7);
  const std::vector<float> whole = in_pieces(*two, tokens, int64_t(tokens.size()));
  ASSERT_EQ(whole.size(), tokens.size() * kVocab);
  for (const float v : whole) ASSERT_TRUE(std::isfinite(v));
  for (const int64_t piece : {1, 7, 64, 100})
    expect_same(in_pieces(*two, tokens, piece), whole, "pieces of " + std::to_string(piece));
  expect_same(in_pieces(*one, tokens, int64_t(tokens.size())), whole, "one thread");
  expect_same(in_pieces(*one, tokens, 1), whole, "one thread, token by token");
  expect_same(verified(*two, tokens, 4), whole, "verified in fours");
  expect_same(verified(*two, tokens, 2), whole, "verified in fours, half of them rejected");
  std::vector<std::vector<int32_t>> others;
  for (const int64_t length : {int64_t(1), int64_t(63), int64_t(130), kPrompt}) others.push_back(ids(uint64_t(length), length));
  expect_same(among_others(*two, tokens, others), whole, "in a batch of five");

  // Prefill, then decode: the last 64 positions one by one after a prompt of 300.
  auto s = two->open({tokens.begin(), tokens.begin() + kPrompt}).value();
  std::vector<float> out = compute_in_pieces(*two, *s, kPrompt);
  for (const auto next : std::span(tokens).subspan(kPrompt)) {
    ASSERT_TRUE(two->append(*s, next).ok());
    const std::vector<float> more = compute_in_pieces(*two, *s, 1);
    out.insert(out.end(), more.begin(), more.end());
  }
  two->close(*s);
  expect_same(out, whole, "prefill, then decode");
}

// A snapshot at a chunk's end continues as if nothing had happened, and leaves the pools as they were.
TEST_P(SameBits, FromASnapshot) {
  const auto e = engine(2, 3);
  const std::vector<int32_t> tokens = ids(11, 200);
  const std::vector<float> whole = in_pieces(*e, tokens, 200);
  const int64_t free_before = e->states().free_slots();
  std::vector<float> out(whole.begin(), whole.begin() + 128 * kVocab);
  const std::vector<float> more = resumed(*e, tokens);
  out.insert(out.end(), more.begin(), more.end());
  expect_same(out, whole, "from a snapshot");
  EXPECT_EQ(e->states().free_slots(), free_before);
  EXPECT_EQ(e->kv().free_pages(), e->kv().pages());
}

std::vector<Variant> variants() {
  std::vector<Variant> v;
  for (const DTypeChoice dtype : {DTypeChoice::kBF16, DTypeChoice::kF32})
    for (const char* impl : {"", "cpu", "avx2", "avx512"}) v.push_back({impl, dtype});
  v.push_back({"avx512_bf16", DTypeChoice::kBF16});  // a form of matmul that serves bf16 operands only
  for (const DTypeChoice dtype : {DTypeChoice::kBF16, DTypeChoice::kF32}) {
    if (kSlow && dtype == DTypeChoice::kF32) continue;
    v.push_back({.dtype = dtype, .quantize = quantize_as(CodeType::kInt8, 0), .weights = "_int8"});
    v.push_back({.dtype = dtype, .quantize = quantize_as(CodeType::kInt4, 32), .weights = "_int4"});
    if (!kTestModel.random_weights) v.push_back({.dtype = dtype, .fp8 = true, .weights = "_fp8"});
  }
  if (!detect_gpus().gpus.empty())
    for (const DTypeChoice dtype : {DTypeChoice::kBF16, DTypeChoice::kF32}) v.push_back({"", dtype, {DeviceKind::kCuda, 0}});
  return v;
}

std::string variant_name(const ::testing::TestParamInfo<Variant>& info) {
  const std::string place = info.param.device.kind == DeviceKind::kCpu ? "" : "gpu_";
  return place + (info.param.impl.empty() ? std::string("chosen") : info.param.impl) +
         (info.param.dtype == DTypeChoice::kBF16 ? "_bf16" : "_fp32") + info.param.weights;
}

INSTANTIATE_TEST_SUITE_P(Forms, SameBits, ::testing::ValuesIn(variants()), variant_name);

}  // namespace
}  // namespace sluice
