#include "core/tile.h"

#include <gtest/gtest.h>

#include "core/impl.h"

namespace sluice {
namespace {

constexpr size_t kKB = 1024;

Gpu gpu_with(size_t shared_kb) { return {.name = "Test GPU", .major = 8, .shared_memory = shared_kb * kKB}; }

Tiles some_tiles() {
  Tiles tiles("columns of V");
  tiles.add(64, 182 * kKB), tiles.add(32, 138 * kKB), tiles.add(16, 116 * kKB);
  return tiles;
}

Result<int> chosen(size_t shared_kb, const TileChoices* choices = nullptr) {
  const Gpu gpu = gpu_with(shared_kb);
  return choose_tile({.gpu = &gpu, .tiles = choices}, "op:portable", some_tiles());
}

constexpr const char* kList =
    "there are tiles of 64 (182 KB, too much), 32 (138 KB), 16 (116 KB) columns of V, by the shared memory that a block needs, and "
    "Test GPU gives it 163 KB";

TEST(Tile, TheFirstThatFits) {
  EXPECT_EQ(*chosen(227), 64);
  EXPECT_EQ(*chosen(182), 64);
  EXPECT_EQ(*chosen(181), 32);
  EXPECT_EQ(*chosen(163), 32);
  EXPECT_EQ(*chosen(116), 16);
  const Result<int> none = chosen(99);
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.status().code(), Code::kUnsupported);
  EXPECT_EQ(none.status().to_string(),
            "op:portable cannot serve this call: there are tiles of 64 (182 KB, too much), 32 (138 KB, too much), 16 (116 KB, too "
            "much) columns of V, by the shared memory that a block needs, and Test GPU gives it 99 KB; use another form");
}

TEST(Tile, TheOneAskedFor) {
  const TileChoices small{{"op:portable", 16}}, other{{"op:portable_mma", 1}}, large{{"op:portable", 64}}, odd{{"op:portable", 48}};
  EXPECT_EQ(*chosen(227, &small), 16);
  EXPECT_EQ(*chosen(227, &other), 64);
  EXPECT_EQ(*chosen(227, &large), 64);
  EXPECT_EQ(chosen(163, &large).status().to_string(),
            std::string("SLUICE_TILE=op:portable:64 cannot serve this call: ") + kList + "; use 32");
  EXPECT_EQ(chosen(163, &odd).status().to_string(),
            std::string("SLUICE_TILE=op:portable:48 cannot serve this call: ") + kList + "; use 32");
}

TEST(Tile, RefusesFormsWithoutTiles) {
  const std::vector<OpInfo> ops{{"op", {{.name = "portable", .isa = Isa::kCuda, .built = true, .tiled = true}}},
                                {"other", {{.name = "portable", .isa = Isa::kCuda, .built = true, .tiled = false}}}};
  EXPECT_TRUE(check_tile_choices({{"op:portable", 48}}, ops).ok());
  EXPECT_EQ(check_tile_choices({{"other:portable", 1}}, ops).to_string(),
            "SLUICE_TILE: other:portable has no tiles to choose among; these have: op:portable");
  EXPECT_EQ(check_tile_choices({{"op:portable", 48}}, {}).to_string(),
            "SLUICE_TILE: op:portable has no tiles to choose among; no form of this build has any");
}

}  // namespace
}  // namespace sluice
