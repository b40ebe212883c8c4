// The promise of the open chunk: however a sequence is cut into steps, whatever runs beside it and on however many threads, the
// logits of every position have the same bits. Per instruction set and dtype, on the tests' model.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "engine/engine.h"
#include "tests/support/test_model.h"

namespace sluice {
namespace {

using testing::kTestModel;

constexpr int64_t kVocab = kTestModel.vocab, kMore = 64;
#if defined(__SANITIZE_THREAD__)
constexpr int64_t kPrompt = 140;
#else
constexpr int64_t kPrompt = 300;
#endif

std::vector<int32_t> random_ids(int64_t count, uint64_t seed, int64_t vocab) {
  std::mt19937_64 rng(seed);
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (auto& id : ids) id = int32_t(rng() % uint64_t(vocab));
  return ids;
}

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
};

class SameBits : public ::testing::TestWithParam<Variant> {
 protected:
  std::unique_ptr<Engine> engine(int threads, int64_t sequences = 1) {
    auto e = Engine::create({.model = kTestModel.path,
                             .random_weights = kTestModel.random_weights,
                             .dtype = GetParam().dtype,
                             .threads = threads,
                             .max_context = 1024,
                             .max_sequences = sequences,
                             .impl = force_everywhere(GetParam().impl, detect_cpu_features())});
    EXPECT_TRUE(e.ok()) << e.status().to_string();
    return std::move(e).value();
  }
  std::vector<int32_t> ids(uint64_t seed, int64_t count = kPrompt + kMore) { return random_ids(count, seed, kVocab); }

  static void keep(std::vector<float>& out, const Tensor& logits, int64_t first, int64_t count) {
    const float* begin = logits.as<float>() + first * logits.dim(1);
    out.insert(out.end(), begin, begin + count * logits.dim(1));
  }

  // Logits of all positions with steps of `piece` tokens.
  std::vector<float> in_pieces(Engine& e, const std::vector<int32_t>& ids, int64_t piece) {
    auto s = e.open(ids).value();
    std::vector<float> out;
    while (s->pending() > 0) {
      const Work work{s.get(), std::min(piece, s->pending()), WantLogits::kAll};
      const auto step = e.step({&work, 1});
      EXPECT_TRUE(step.ok()) << step.status().to_string();
      keep(out, step->logits, 0, step->logits.dim(0));
    }
    e.close(*s);
    return out;
  }

  // Steps of four drafts, of which `taken` are accepted; the rest is drafted wrongly first and computed again.
  std::vector<float> verified(Engine& e, const std::vector<int32_t>& ids, int64_t taken) {
    auto s = e.open({ids[0]}).value();
    std::vector<float> out;
    while (s->computed < int64_t(ids.size())) {
      const int64_t at = s->computed, left = int64_t(ids.size()) - at;
      const int64_t count = std::min({int64_t(4), left, 64 - at % 64}), good = std::min(taken, count);
      s->tokens.assign(ids.begin(), ids.begin() + at + count);
      for (int64_t i = good; i < count; ++i) s->tokens[size_t(at + i)] ^= 1;  // a draft that will be rejected
      const Work work{s.get(), count, WantLogits::kAll, true};
      const auto step = e.step({&work, 1});
      EXPECT_TRUE(step.ok()) << step.status().to_string();
      keep(out, step->logits, 0, good);
      EXPECT_TRUE(e.accept(*s, good, step->hidden.slice(0, good - 1, good)).ok());
    }
    e.close(*s);
    return out;
  }

  // Logits of the first of five sequences of different lengths, all in the same steps.
  std::vector<float> among_others(Engine& e, const std::vector<int32_t>& ids) {
    std::vector<std::unique_ptr<Sequence>> all;
    all.push_back(e.open(ids).value());
    for (const int64_t length : {int64_t(1), int64_t(63), int64_t(130), kPrompt})
      all.push_back(e.open(this->ids(uint64_t(length), length)).value());
    std::vector<float> out;
    while (all[0]->pending() > 0) {
      std::vector<Work> work;
      for (auto& s : all)
        if (s->pending() > 0) work.push_back({s.get(), std::min<int64_t>(50, s->pending()), WantLogits::kAll});
      const int64_t mine = work[0].count;
      const auto step = e.step(work);
      EXPECT_TRUE(step.ok()) << step.status().to_string();
      keep(out, step->logits, 0, mine);
    }
    for (auto& s : all) e.close(*s);
    return out;
  }

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
  expect_same(among_others(*two, tokens), whole, "in a batch of five");

  // Prefill, then decode: the last 64 positions one by one after a prompt of 300.
  auto s = two->open({tokens.begin(), tokens.begin() + kPrompt}).value();
  std::vector<float> out;
  const Work prompt{s.get(), kPrompt, WantLogits::kAll};
  keep(out, two->step({&prompt, 1})->logits, 0, kPrompt);
  for (int64_t i = 0; i < kMore; ++i) {
    ASSERT_TRUE(two->append(*s, tokens[size_t(kPrompt + i)]).ok());
    const Work next{s.get(), 1, WantLogits::kAll};
    keep(out, two->step({&next, 1})->logits, 0, 1);
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
  auto s = e->open(tokens).value();
  const Work first{s.get(), 128, WantLogits::kAll};
  ASSERT_TRUE(e->step({&first, 1}).ok());
  const int32_t snapshot = e->states().snapshot(s->slot).value();
  const Work rest{s.get(), 72, WantLogits::kAll};
  ASSERT_TRUE(e->step({&rest, 1}).ok());

  auto again = e->open(tokens).value();
  e->states().release(again->slot);
  again->slot = e->states().resume(snapshot).value();
  again->pages.assign(s->pages.begin(), s->pages.begin() + 2);  // the pages of the first 128 tokens, shared
  for (const int32_t page : again->pages) e->kv().retain(page);
  again->computed = 128;
  const Work more{again.get(), 72, WantLogits::kAll};
  std::vector<float> out(whole.begin(), whole.begin() + 128 * kVocab);
  keep(out, e->step({&more, 1})->logits, 0, 72);
  expect_same(out, whole, "from a snapshot");
  e->close(*s), e->close(*again), e->states().release(snapshot);
  EXPECT_EQ(e->states().free_slots(), free_before);
  EXPECT_EQ(e->kv().free_pages(), e->kv().pages());
}

std::vector<Variant> variants() {
  std::vector<Variant> v;
  for (const DTypeChoice dtype : {DTypeChoice::kBF16, DTypeChoice::kF32})
    for (const char* impl : {"", "cpu", "avx512"}) v.push_back({impl, dtype});
  v.push_back({"avx512_bf16", DTypeChoice::kBF16});  // a form of matmul that serves bf16 operands only
  return v;
}

std::string variant_name(const ::testing::TestParamInfo<Variant>& info) {
  return (info.param.impl.empty() ? std::string("chosen") : info.param.impl) +
         (info.param.dtype == DTypeChoice::kBF16 ? "_bf16" : "_fp32");
}

INSTANTIATE_TEST_SUITE_P(Forms, SameBits, ::testing::ValuesIn(variants()), variant_name);

}  // namespace
}  // namespace sluice
