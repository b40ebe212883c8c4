// The tuner on the operators that have tiles: it leaves the call's own tensors as they are.
#include <gtest/gtest.h>

#include "core/tile.h"
#include "ops/gdn_chunk/bench_testing.h"
#include "ops/gdn_prefill/gdn_prefill.h"
#include "tests/support/op_testing.h"
#if SLUICE_HAS_CUDA
#include "core/cuda/tune.h"
#endif

namespace sluice::benching {
namespace {

#if SLUICE_HAS_CUDA

using Form = Impl<GdnPrefillArgs>;

GdnPrefillArgs call(Inputs& in, int64_t K, int64_t V, int64_t R) {
  return gdn_args<GdnPrefillArgs>(
      gdn_inputs(in, {.HK = 1, .HV = 2, .K = K, .V = V, .lengths = {70, 0, 200}, .io = DType::kBF16, .R = R}));
}

// KB of shared memory by tile, as docs/tuning.md has them.
std::vector<std::pair<int, size_t>> kilobytes(const char* form, int64_t K, int64_t V, int64_t R) {
  HostMemory memory;
  Inputs in(memory);
  const Tiles tiles = testing::impl_named(gdn_prefill_impls(), form).tiles(call(in, K, V, R));
  std::vector<std::pair<int, size_t>> all;
  for (const Tile& t : tiles.all()) all.emplace_back(t.size, (t.shared + 1023) / 1024);
  return all;
}

TEST(Tune, TilesNeedWhatTheTableSays) {
  using List = std::vector<std::pair<int, size_t>>;
  EXPECT_EQ(kilobytes("portable", 128, 128, 64), (List{{64, 108}, {32, 80}, {16, 66}}));
  EXPECT_EQ(kilobytes("portable", 128, 128, 16), (List{{64, 65}, {32, 43}, {16, 32}}));
  EXPECT_EQ(kilobytes("portable", 256, 256, 64), (List{{64, 182}, {32, 138}, {16, 116}}));
  EXPECT_EQ(kilobytes("portable", 48, 80, 16).size(), 1u);
  EXPECT_EQ(kilobytes("portable_mma", 64, 64, 64), (List{{2, 80}, {1, 40}}));
  EXPECT_EQ(kilobytes("portable_mma", 128, 128, 64), (List{{2, 112}, {1, 56}}));
}

TEST(Tune, LeavesTheCallsTensorsAsTheyAre) {
  Context* gpu = testing::gpu_context();
  if (!gpu) GTEST_SKIP() << "no GPU here";
  HostMemory memory, untouched;
  Inputs in(memory), again(untouched);
  GdnPrefillArgs a = call(in, 128, 128, 16), b = call(again, 128, 128, 16);
  for (const Form& form : gdn_prefill_impls()) {
    if (!form.tiles) continue;
    size_t timed = 0;
    const Status s = cuda::staged(*gpu, a, [&](const GdnPrefillArgs& on_gpu) -> Status {
      SLUICE_ASSIGN_OR_RETURN(const auto times, cuda::time_tiles(*gpu, "gdn_prefill", form, on_gpu));
      for (const cuda::TileTime& t : times) EXPECT_GT(t.us, 0) << form.name;
      timed = times.size();
      return {};
    });
    ASSERT_TRUE(s.ok()) << form.name << ": " << s.to_string();
    EXPECT_EQ(timed, form.tiles(a).all().size()) << form.name;
    std::vector<Tensor> got, want;
    each_tensor(a, [&](Tensor& t, GpuLayout = GpuLayout::kAsIs) { got.push_back(t); });
    each_tensor(b, [&](Tensor& t, GpuLayout = GpuLayout::kAsIs) { want.push_back(t); });
    for (size_t i = 0; i < got.size(); ++i) {
      const size_t bytes = got[i].present() ? got[i].span_bytes() : 0;
      EXPECT_TRUE(bytes == 0 || std::memcmp(got[i].data, want[i].data, bytes) == 0) << form.name << ", tensor " << i;
    }
  }
}

TEST(Tune, EveryTileGivesTheSameBitsAndAnOddOneIsRefused) {
  Context* gpu = testing::gpu_context();
  if (!gpu) GTEST_SKIP() << "no GPU here";
  for (const Form& form : gdn_prefill_impls()) {
    if (!form.tiles) continue;
    HostMemory memory;
    Inputs in(memory);
    const GdnPrefillArgs first = call(in, 128, 128, 16);
    const std::string name = std::string("gdn_prefill:") + form.name;
    Context ctx = *gpu;
    TileChoices choice;
    ctx.tiles = &choice;
    const auto run = [&](int size, const GdnPrefillArgs& a) {
      choice[name] = size;
      return cuda::staged(ctx, a, [&](const GdnPrefillArgs& on_gpu) { return run_impl(form, ctx, on_gpu); });
    };
    const Tiles tiles = form.tiles(first);
    ASSERT_TRUE(run(tiles.all()[0].size, first).ok());
    for (const Tile& tile : tiles.all()) {
      HostMemory own;
      Inputs inputs(own);
      const GdnPrefillArgs a = call(inputs, 128, 128, 16);
      const Status s = run(tile.size, a);
      ASSERT_TRUE(s.ok()) << name << ": " << s.to_string();
      EXPECT_EQ(std::memcmp(a.o.data, first.o.data, first.o.bytes()), 0) << name << " " << tile.size;
      EXPECT_EQ(std::memcmp(a.state.s.data, first.state.s.data, first.state.s.bytes()), 0) << name << " " << tile.size;
    }
    const Status refused = run(48, first);
    EXPECT_EQ(refused.code(), Code::kUnsupported);
    EXPECT_TRUE(refused.message().starts_with("SLUICE_TILE=" + name + ":48 cannot serve this call: ")) << refused.to_string();
  }
}

#else
TEST(Tune, NotInThisBuild) { GTEST_SKIP() << "a build without CUDA"; }
#endif

}  // namespace
}  // namespace sluice::benching
