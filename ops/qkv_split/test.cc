#include "ops/qkv_split/cases.h"
#include "ops/qkv_split/qkv_split.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

constexpr QkvLayout kLayouts[] = {QkvLayout::kConcatenated, QkvLayout::kPerKeyHead};

// How the rows of `mixed` lie in memory.
enum class Rows { kDense, kOddAddress, kTransposed, kTransposedOddPitch, kEveryOther };
constexpr Rows kAllRows[] = {Rows::kDense, Rows::kOddAddress, Rows::kTransposed, Rows::kTransposedOddPitch, Rows::kEveryOther};

// The same bits by another name: storages have no random F16.
Tensor as_type(Tensor t, DType type) {
  t.dtype = type;
  return t;
}

// The tensors of one call; heads of q, k, v lie row_stride apart where the case says so.
struct Call {
  QkvSplitCase c;
  QkvLayout layout;
  Rows rows;
  Storage mixed, ba, q, k, v, z, b, a;

  Call(const QkvSplitCase& c, QkvLayout layout, DType type, Random& random, Rows rows = Rows::kDense)
      : c(c),
        layout(layout),
        rows(rows),
        mixed(mixed_storage(c, layout, type, random, rows)),
        ba(random.normal(type, {c.rows, 2 * c.value_heads})),
        q(type, {c.rows, c.key_heads, c.key_dim}, c.row_stride ? 2 * c.row_stride : 0),
        k(type, {c.rows, c.key_heads, c.key_dim}),
        v(type, {c.rows, c.value_heads, c.value_dim}, c.row_stride),
        z(type, {c.rows, c.value_heads, c.value_dim}),
        b(type, {c.rows, c.value_heads}, c.value_heads + 3),
        a(type, {c.rows, c.value_heads}) {}

  static int64_t columns(const QkvSplitCase& c, QkvLayout layout) {
    const int64_t values = c.value_heads * c.value_dim, qkv = 2 * c.key_heads * c.key_dim + values;
    if (layout == QkvLayout::kPerKeyHead) return qkv + values;
    return qkv + (c.z || c.gates ? values : 0) + (c.gates ? 2 * c.value_heads : 0);
  }
  static Storage mixed_storage(const QkvSplitCase& c, QkvLayout layout, DType type, Random& random, Rows rows) {
    const int64_t width = columns(c, layout) + c.spare;
    switch (rows) {
      case Rows::kDense:
        return random.normal(type, {c.rows, width});
      case Rows::kOddAddress:
        return random.normal(type, {c.rows, width}, 1, 0, 1);
      case Rows::kTransposed:
        return random.normal(type, {width, c.rows}, 1, (c.rows + 7) / 8 * 8);
      case Rows::kTransposedOddPitch:
        return random.normal(type, {width, c.rows}, 1, c.rows + 3);
      case Rows::kEveryOther:
        return random.normal(type, {c.rows, width, 2});
    }
    return random.normal(type, {});
  }
  Tensor mixed_rows() const {
    const Tensor& t = mixed;
    if (rows == Rows::kTransposed || rows == Rows::kTransposedOddPitch) return t.swap_last_two();
    if (rows != Rows::kEveryOther) return t;
    Tensor one = t.slice(2, 0, 1);
    one.rank = 2;
    return one;
  }
  // F16 is tested on the bits of BF16.
  QkvSplitArgs args(bool f16 = false) const {
    QkvSplitArgs s = args_as_made();
    if (f16) each_tensor(s, [](Tensor& t) { t = as_type(t, DType::kF16); });
    return s;
  }
  QkvSplitArgs args_as_made() const {
    QkvSplitArgs s{.mixed = mixed_rows(), .q = q, .k = k, .v = v, .layout = layout};
    if (layout == QkvLayout::kPerKeyHead) s.ba = ba;
    if (c.z) s.z = z;
    if (c.gates) s.b = b, s.a = a;
    return s;
  }
};

TEST(QkvSplit, MatchesReference) {
  for (const DType type : {DType::kF32, DType::kBF16, DType::kF16})
    for (const QkvLayout layout : kLayouts)
      for (const Rows rows : kAllRows)
        for (const QkvSplitCase& c : kQkvSplitCases) {
          const bool f16 = type == DType::kF16;
          const auto make = [&] {
            Random random(1);
            return Call(c, layout, f16 ? DType::kBF16 : type, random, rows);
          };
          const Call want = make();
          ASSERT_EQ(check_qkv_split(want.args(f16)).message(), "");
          run_ok(impl_named(qkv_split_impls(), "reference"), want.args(f16));
          for (const auto* impl : runnable(qkv_split_impls(), want.args(f16)))
            for (const int threads : {1, 2}) {
              const Call got = make();
              run_ok(*impl, got.args(f16), threads);
              const std::string what =
                  std::string(impl->name) + " rows " + std::to_string(c.rows) + " lie " + std::to_string(int(rows));
              for (const auto part : {&Call::q, &Call::k, &Call::v, &Call::z, &Call::b, &Call::a})
                expect_same_bits(got.*part, want.*part, what);
            }
        }
}

// A row whose element i is i, so that outputs name the columns they must come from.
TEST(QkvSplit, KnownColumns) {
  std::vector<float> mixed(24), ba(8);
  for (size_t i = 0; i < mixed.size(); ++i) mixed[i] = float(i);
  for (size_t i = 0; i < ba.size(); ++i) ba[i] = float(100 + i);
  for (const auto* impl : runnable(qkv_split_impls(), QkvSplitArgs{})) {
    std::vector<float> q(2), k(2), v(4), z(4), b(4), a(4);  // 2 key heads of 1, 4 value heads of 1
    QkvSplitArgs s{.mixed = Tensor::of(mixed.data(), {1, 24}),
                   .q = Tensor::of(q.data(), {1, 2, 1}),
                   .k = Tensor::of(k.data(), {1, 2, 1}),
                   .v = Tensor::of(v.data(), {1, 4, 1}),
                   .z = Tensor::of(z.data(), {1, 4, 1}),
                   .b = Tensor::of(b.data(), {1, 4}),
                   .a = Tensor::of(a.data(), {1, 4})};
    run_ok(*impl, s);
    EXPECT_EQ(q, (std::vector<float>{0, 1})) << impl->name;
    EXPECT_EQ(k, (std::vector<float>{2, 3})) << impl->name;
    EXPECT_EQ(v, (std::vector<float>{4, 5, 6, 7})) << impl->name;
    EXPECT_EQ(z, (std::vector<float>{8, 9, 10, 11})) << impl->name;
    EXPECT_EQ(b, (std::vector<float>{12, 13, 14, 15})) << impl->name;
    EXPECT_EQ(a, (std::vector<float>{16, 17, 18, 19})) << impl->name;
    s.layout = QkvLayout::kPerKeyHead, s.ba = Tensor::of(ba.data(), {1, 8});
    run_ok(*impl, s);
    EXPECT_EQ(q, (std::vector<float>{0, 6})) << impl->name;
    EXPECT_EQ(k, (std::vector<float>{1, 7})) << impl->name;
    EXPECT_EQ(v, (std::vector<float>{2, 3, 8, 9})) << impl->name;
    EXPECT_EQ(z, (std::vector<float>{4, 5, 10, 11})) << impl->name;
    EXPECT_EQ(b, (std::vector<float>{100, 101, 104, 105})) << impl->name;
    EXPECT_EQ(a, (std::vector<float>{102, 103, 106, 107})) << impl->name;
  }
}

TEST(QkvSplit, RefusesBadArguments) {
  Random random(2);
  const Call call({2, 2, 4, 3, 5, true, true}, QkvLayout::kConcatenated, DType::kF32, random);
  const auto message = [&](auto change) {
    QkvSplitArgs s = call.args();
    change(s);
    return check_qkv_split(s).message();
  };
  const Storage half(DType::kBF16, {2, 2, 3}), three(DType::kF32, {2, 3, 5}), ids(DType::kI32, {2, 60});
  EXPECT_EQ(message([&](auto& s) { s.mixed = {}; }), "qkv_split: mixed is missing");
  EXPECT_EQ(message([&](auto& s) { s.mixed = ids; }), "qkv_split: mixed is I32, wanted F32 or BF16 or F16");
  EXPECT_EQ(message([&](auto& s) { s.q = half; }), "qkv_split: q is BF16, wanted F32");
  EXPECT_EQ(message([&](auto& s) { s.v = {}; }), "qkv_split: v is missing");
  EXPECT_EQ(message([&](auto& s) { s.z = three; }), "qkv_split: z has shape [2, 3, 5], wanted [2, 4, 5]");
  EXPECT_EQ(message([&](auto& s) { s.a = {}; }), "qkv_split: only one of b and a is given, wanted both or none");
  EXPECT_EQ(message([&](auto& s) { s.mixed = s.mixed.slice(1, 0, 59); }), "qkv_split: a row of mixed has 59 columns, wanted 60");
  EXPECT_EQ(message([&](auto& s) { s.layout = QkvLayout::kPerKeyHead; }), "qkv_split: ba is missing");
  EXPECT_EQ(message([&](auto& s) { s.layout = QkvLayout::kPerKeyHead, s.v = three, s.z = s.b = s.a = {}; }),
            "qkv_split: the value heads are not a multiple of the key heads, which the layout per key head needs");
}

}  // namespace
}  // namespace sluice
