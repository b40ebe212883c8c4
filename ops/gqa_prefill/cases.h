// Shapes for the tests of gqa_prefill and gqa_decode.
#pragma once

#include <cstdint>

namespace sluice {

struct GqaCase {
  int64_t kv_heads, group, dim, page;
  int sequences;
  int64_t prefix[6], rows[6];
};

// Every page size, prefix, row count, group and head dimension at an edge; prefix + rows cross blocks of 64 keys in every way.
inline constexpr GqaCase kGqaCases[] = {
    {2, 1, 16, 1, 6, {0, 1, 63, 64, 65, 200}, {1, 4, 63, 64, 65, 1}},
    {2, 2, 40, 16, 6, {0, 0, 1, 63, 65, 200}, {65, 0, 64, 1, 4, 63}},
    {1, 3, 64, 64, 6, {0, 63, 64, 64, 1, 200}, {64, 65, 1, 4, 4, 4}},
    {2, 4, 128, 16, 5, {0, 1, 63, 64, 200}, {4, 65, 4, 1, 1}},
    {2, 4, 256, 16, 5, {0, 0, 63, 65, 200}, {4, 65, 1, 1, 4}},
    {1, 8, 256, 64, 4, {0, 64, 65, 200}, {1, 4, 63, 1}},
    {1, 8, 40, 1, 3, {0, 1, 200}, {63, 64, 4}},
    {3, 3, 24, 7, 4, {0, 5, 60, 130}, {9, 70, 5, 2}},
    {1, 1, 256, 16, 2, {3, 200}, {65, 4}},
    {1, 70, 16, 16, 2, {0, 62}, {3, 4}},
};
// Pages of a multiple of 64, heads of 64, 128 and 256: what tensor cores take. Tiles of 128 rows with none, one and several before
// them, ends inside of a page, at its end and one behind it.
inline constexpr GqaCase kGqaTileCases[] = {
    {2, 2, 64, 64, 5, {0, 63, 64, 1, 300}, {1, 130, 64, 63, 150}},
    {1, 4, 128, 128, 4, {0, 1, 255, 128}, {257, 128, 3, 0}},
    {1, 3, 256, 64, 4, {0, 65, 191, 0}, {129, 63, 66, 128}},
    {1, 4, 256, 64, 2, {3000, 700}, {1, 5}},
};
// Contexts of several spans: a few rows (spans are tasks), and enough tiles to keep each whole.
inline constexpr GqaCase kGqaLongCases[] = {
    {1, 2, 40, 16, 2, {1020, 2047}, {6, 3}},
    {8, 1, 32, 64, 2, {1020, 2100}, {70, 3}},
};

}  // namespace sluice
