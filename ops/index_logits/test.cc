#include <algorithm>
#include <cmath>

#include "ops/index_logits/cases.h"
#include "ops/index_logits/index_logits.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

constexpr DType kTypes[] = {DType::kF8E4M3, DType::kBF16, DType::kF32};
constexpr Tolerance kTolerance{2e-6, 2e-5};

std::string name_of(const IndexLogitsCase& c) {
  return std::to_string(c.tokens) + "x" + std::to_string(c.heads) + "x" + std::to_string(c.dim) + " over " + std::to_string(c.keys);
}

// A cache of random keys, and a block_table that scatters them; entries behind a sequence's pages name none.
struct Paged {
  int64_t page, dim;
  Storage cache, table;

  Paged(Random& random, int64_t sequences, int64_t pages_of_each, int64_t page, int64_t dim, bool aligned = true)
      : page(page),
        dim(dim),
        cache(DType::kU8, {sequences * pages_of_each + 3, page * (dim + 4)},
              page * (dim + 4) + (aligned ? (-page * (dim + 4)) & 15 : 4), aligned ? 0 : 4),
        table(DType::kI32, {sequences, pages_of_each}, pages_of_each + 2) {
    for (int64_t p = 0; p < cache.tensor().dim(0); ++p) {
      auto* bytes = cache.tensor().as<uint8_t>() + p * cache.tensor().stride[0];
      for (int64_t i = 0; i < page * dim; ++i) bytes[i] = F8E4M3(float(random.normal(0, 4))).bits;
      for (int64_t i = 0; i < page; ++i) {
        const float scale = float(random.uniform(0.001, 0.1));
        std::memcpy(bytes + page * dim + 4 * i, &scale, 4);
      }
    }
    table.fill([&, n = int64_t(0)]() mutable { return double((n++ * 7 + 5) % (sequences * pages_of_each + 3)); });
  }
};

struct Problem {
  Storage q, weights;
  Problem(Random& random, DType type, int64_t tokens, int64_t heads, int64_t dim)
      : q(random.normal(type, {tokens, heads, dim}, type == DType::kF8E4M3 ? 4 : 1, heads * dim + 16)),
        weights(random.normal(DType::kF32, {tokens, heads}, 1, heads + 1)) {}
};

// All forms against the reference; `args` lacks logits. Columns that are not seen are poison where they are not cleaned.
void expect_as_reference(IndexLogitsArgs args, int64_t columns, const std::string& what) {
  const int64_t T = args.q.dim(0);
  for (const bool clean : {true, false}) {
    args.clean = clean;
    const Storage want(DType::kF32, {T, columns}, columns + 3);
    args.logits = want;
    ASSERT_EQ(check_index_logits(args).message(), "") << what;
    run_ok(impl_named(index_logits_impls(), "reference"), args);
    for (const auto* impl : runnable(index_logits_impls(), args)) {
      const Storage got(DType::kF32, {T, columns}, columns + 3), again(DType::kF32, {T, columns}, columns + 3);
      args.logits = got;
      run_ok(*impl, args);
      args.logits = again;
      run_ok(*impl, args, 1);
      expect_same_bits(got, again, what + " " + impl->name);
      std::vector<double> a = got.values(), b = want.values();
      for (size_t i = 0; i < b.size(); ++i)  // what nobody wrote is NaN in both
        if (std::isnan(b[i]) && std::isnan(a[i])) a[i] = b[i] = 0;
      const Error e = error(a, b);
      EXPECT_LE(e.rel_rms, kTolerance.rel_rms) << what << " " << impl->name;
      EXPECT_LE(e.max_rel, kTolerance.max_rel) << what << " " << impl->name;
      EXPECT_TRUE(got.margins_intact()) << what << " " << impl->name;
    }
  }
}

TEST(IndexLogits, OneMatrixOfKeys) {
  Random random(1);
  for (const DType type : kTypes)
    for (const IndexLogitsCase& c : kIndexLogitsCases) {
      const Problem p(random, type, c.tokens, c.heads, c.dim);
      const Storage k = random.normal(type, {c.keys, c.dim}, 2, c.dim + 16), scale = random.normal(DType::kF32, {c.keys});
      IndexLogitsArgs args{.q = p.q, .weights = p.weights, .k = k, .k_scale = scale};
      expect_as_reference(args, c.keys, name_of(c));
      std::vector<int64_t> begin, end;  // causal, with a start; the first token sees nothing, others more than there is
      for (int64_t t = 0; t < c.tokens; ++t) begin.push_back(t % 3 * 7 - 2), end.push_back(t == 0 ? 0 : c.keys - c.tokens + 2 * t);
      const Storage begins = ints(begin), ends = ints(end);
      args.k_begin = begins, args.k_end = ends, args.k_scale = {};
      expect_as_reference(args, c.keys, name_of(c) + " bounds");
    }
}

// Addresses that no wide load takes.
TEST(IndexLogits, OddAddresses) {
  Random random(2);
  for (const DType type : kTypes) {
    const Storage q = random.normal(type, {5, 6, 64}, 1, 6 * 64 + 1, 1), k = random.normal(type, {90, 64}, 1, 65, 3);
    const Storage weights = random.normal(DType::kF32, {5, 6}, 1, 7, 1);
    expect_as_reference({.q = q, .weights = weights, .k = k}, 90, "odd");
  }
}

TEST(IndexLogits, PagedKeys) {
  Random random(3);
  for (const int64_t page : {1, 16, 64})
    for (const int64_t dim : {32, 128})
      for (const int64_t next_n : {1, 2, 3}) {
        const Paged paged(random, 3, 200 / page + 1, page, dim, next_n != 3);
        const int64_t columns = (200 / page + 1) * page - 1;
        const Problem p(random, DType::kF8E4M3, 3 * next_n, page == 64 ? 64 : 9, dim);
        const Storage lens = ints({1, 190, 64});
        Storage each(DType::kI32, {3, next_n}, next_n + 1);
        each.fill([&, n = 0]() mutable { return double(n++ * 37 % 190); });
        IndexLogitsArgs args{.q = p.q, .weights = p.weights, .cache = paged.cache, .page_size = page, .block_table = paged.table};
        const std::string what =
            "page " + std::to_string(page) + " dim " + std::to_string(dim) + " next_n " + std::to_string(next_n);
        args.context_lens = lens;
        expect_as_reference(args, columns, what);
        args.context_lens = each;
        expect_as_reference(args, columns, what + " lens of each token");
      }
}

// A token's logits are its own: in any batch, over any neighbours, paged or not, and however often.
TEST(IndexLogits, SameBitsInAnyBatch) {
  Random random(4);
  const int64_t page = 64, keys = 3 * page;
  const Paged paged(random, 1, 4, page, 128);
  const Problem p(random, DType::kF8E4M3, 20, 64, 128);
  Storage k(DType::kF8E4M3, {keys, 128}), scale(DType::kF32, {keys});
  for (int64_t j = 0; j < keys; ++j) {
    const auto* bytes =
        paged.cache.tensor().as<uint8_t>() + paged.table.tensor().as<int32_t>()[j / page] * paged.cache.tensor().stride[0];
    std::memcpy(k.tensor().as<uint8_t>() + j * 128, bytes + j % page * 128, 128);
    std::memcpy(scale.tensor().as<float>() + j, bytes + page * 128 + j % page * 4, 4);
  }
  const Storage lens = ints({keys});
  const Storage any(DType::kF32, {20, keys});
  const IndexLogitsArgs args{.q = p.q, .weights = p.weights, .k = k, .k_scale = scale, .logits = any};
  for (const auto* impl : runnable(index_logits_impls(), args)) {
    const Storage all(DType::kF32, {20, keys}), one(DType::kF32, {1, keys}), of_pages(DType::kF32, {1, keys});
    IndexLogitsArgs a = args;
    a.logits = all;
    run_ok(*impl, a);
    for (const int64_t t : {0, 11, 19}) {
      a.q = p.q.tensor().slice(0, t, t + 1), a.weights = p.weights.tensor().slice(0, t, t + 1), a.logits = one;
      run_ok(*impl, a);
      const IndexLogitsArgs from_cache{.q = a.q,
                                       .weights = a.weights,
                                       .cache = paged.cache,
                                       .page_size = page,
                                       .block_table = paged.table,
                                       .context_lens = lens,
                                       .logits = of_pages};
      run_ok(*impl, from_cache);
      expect_same_bits(one, of_pages, impl->name);
      const std::vector<double> of_all = all.values();
      EXPECT_EQ(one.values(), std::vector<double>(of_all.begin() + t * keys, of_all.begin() + (t + 1) * keys)) << impl->name;
    }
    for (int repeat = std::string(impl->name) == "reference" ? 18 : 0; repeat < 20; ++repeat) {
      const Storage again(DType::kF32, {20, keys});
      a = args, a.logits = again;
      run_ok(*impl, a);
      expect_same_bits(all, again, impl->name);
    }
  }
}

// Which of a GPU's forms has a call is seen in its time alone.
TEST(IndexLogits, FormsOfAGpuAgreeInBits) {
  Random random(5);
  const auto compare = [](IndexLogitsArgs args, int64_t columns, const std::string& what) {
    const Storage portable(DType::kF32, {args.q.dim(0), columns}), sm90(DType::kF32, {args.q.dim(0), columns});
    args.logits = portable;
    const auto impls = runnable(index_logits_impls(), args);
    const auto named = [&](std::string_view name) { return std::ranges::find(impls, name, &Impl<IndexLogitsArgs>::name); };
    if (named("portable") == impls.end() || named("sm90") == impls.end()) return;
    run_ok(**named("portable"), args);
    args.logits = sm90;
    run_ok(**named("sm90"), args);
    expect_same_bits(portable, sm90, what);
  };
  for (const int64_t heads : {1, 16, 32, 33, 64})
    for (const int64_t tokens : {1, 2, 3, 4, 9}) {
      const std::string what = std::to_string(heads) + " heads, " + std::to_string(tokens) + " tokens";
      const Problem p(random, DType::kF8E4M3, tokens, heads, 128);
      const Storage k = random.normal(DType::kF8E4M3, {700, 128}, 4), scale = random.normal(DType::kF32, {700});
      compare({.q = p.q, .weights = p.weights, .k = k, .k_scale = scale}, 700, what);
      const Paged paged(random, 1, 5, 128, 128);
      const Storage lens = ints({600});
      compare({.q = p.q,
               .weights = p.weights,
               .cache = paged.cache,
               .page_size = 128,
               .block_table = paged.table,
               .context_lens = lens},
              620, what + ", paged");
    }
}

// The formula by hand: relu drops one head of two, and every code of e4m3 is its number.
TEST(IndexLogits, EveryCode) {
  Storage q(DType::kF8E4M3, {1, 2, 32}), k(DType::kF8E4M3, {256, 32}), weights(DType::kF32, {1, 2});
  q.fill([n = 0]() mutable { return n++ % 32 ? 0 : n < 32 ? 2 : -2; });
  weights.fill([n = 0]() mutable { return n++ ? 5 : 3; });
  k.fill([n = 0]() mutable { return n++ % 32 ? 1 : 0; });
  for (int code = 0; code < 256; ++code) k.tensor().as<uint8_t>()[32 * code] = uint8_t(code % 128 == 127 ? 0 : code);
  for (const auto* impl : runnable(index_logits_impls(), IndexLogitsArgs{.q = q, .weights = weights, .k = k, .logits = weights})) {
    const Storage got(DType::kF32, {1, 256});
    run_ok(*impl, IndexLogitsArgs{.q = q, .weights = weights, .k = k, .logits = got});
    for (int code = 0; code < 256; ++code) {
      F8E4M3 x;
      x.bits = k.tensor().as<uint8_t>()[32 * code];
      EXPECT_EQ(got.values()[size_t(code)], float(x) > 0 ? 6 * float(x) : -10 * float(x)) << impl->name << " " << code;
    }
  }
}

TEST(IndexLogits, RefusesBadArguments) {
  const Storage q(DType::kF8E4M3, {4, 3, 64}), k(DType::kF8E4M3, {9, 64}), bf16(DType::kBF16, {9, 64}), w(DType::kF32, {4, 3}),
      logits(DType::kF32, {4, 9}), cache(DType::kU8, {5, 16 * 68}), table(DType::kI32, {2, 3}),
      lens = ints({1, 2}), three = ints({1, 2, 3}), odd(DType::kF8E4M3, {4, 3, 48}), wide_q(DType::kBF16, {4, 3, 64});
  const auto message = [](const IndexLogitsArgs& args) { return check_index_logits(args).message(); };
  EXPECT_EQ(message({}), "index_logits: q is missing");
  EXPECT_EQ(message({.q = odd}), "index_logits: q must have a head dim of 32, 64 or 128");
  EXPECT_EQ(message({.q = q}), "index_logits: weights is missing");
  EXPECT_EQ(message({.q = q, .weights = w}), "index_logits: logits is missing");
  EXPECT_EQ(message({.q = q, .weights = w, .logits = logits}), "index_logits: wanted either a k or a cache");
  EXPECT_EQ(message({.q = q, .weights = w, .k = k, .cache = cache, .logits = logits}),
            "index_logits: wanted either a k or a cache");
  EXPECT_EQ(message({.q = q, .weights = w, .k = bf16, .logits = logits}), "index_logits: k is BF16, wanted F8_E4M3");
  EXPECT_EQ(message({.q = q, .weights = w, .k = k, .k_scale = w, .logits = logits}),
            "index_logits: k_scale has shape [4, 3], wanted [9]");
  EXPECT_EQ(message({.q = q, .weights = w, .k = k, .k_end = three, .logits = logits}),
            "index_logits: k_end has shape [3], wanted [4]");
  EXPECT_EQ(message({.q = q, .weights = w, .k = k, .context_lens = lens, .logits = logits}),
            "index_logits: block_table and context_lens belong to a cache, and there is a k");
  EXPECT_EQ(message({.q = q, .weights = w, .k = k, .logits = w}), "index_logits: logits has shape [4, 3], wanted [4, 9]");
  const auto paged = [&](int64_t page_size, const Tensor& table, const Tensor& lens) {
    return IndexLogitsArgs{
        .q = q, .weights = w, .cache = cache, .page_size = page_size, .block_table = table, .context_lens = lens, .logits = logits};
  };
  EXPECT_EQ(message(paged(16, table, lens)), "");
  EXPECT_EQ(message(paged(0, table, lens)), "index_logits: page_size must be a power of two");
  EXPECT_EQ(message(paged(12, table, lens)), "index_logits: page_size must be a power of two");
  EXPECT_EQ(message(paged(32, table, lens)), "index_logits: cache has shape [5, 1088], wanted [5, 2176]");
  EXPECT_EQ(message(paged(16, {}, lens)), "index_logits: block_table is missing");
  EXPECT_EQ(message(paged(16, table.tensor().slice(1, 0, 0), lens)),
            "index_logits: logits has more columns than the block_table has keys");
  EXPECT_EQ(message(paged(16, table, three)), "index_logits: context_lens has shape [3], wanted [2]");
  EXPECT_EQ(message(paged(16, table, table)), "index_logits: context_lens has shape [2, 3], wanted [2, 2]");
  IndexLogitsArgs a = paged(16, table, lens);
  a.q = wide_q;
  EXPECT_EQ(message(a), "index_logits: a cache holds F8_E4M3, and q is of another type");
  a = paged(16, table, lens), a.k_scale = lens;
  EXPECT_EQ(message(a), "index_logits: k_scale, k_begin and k_end belong to a k, and there is a cache");
}

}  // namespace
}  // namespace sluice
