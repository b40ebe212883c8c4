// Shapes for the tests of mla_decode, and for its bench.
#pragma once

#include <cstdint>

namespace sluice {

struct MlaDecodeCase {
  int64_t heads, latent, rope, page;
  int sequences;
  int64_t rows[5], lengths[5];  // of each sequence: rows of q, and keys in the cache
};

// Lengths at the edges of blocks and spans, several rows a sequence, sequences without rows, without keys, and with fewer keys
// than rows; head counts around a GPU's tiles; dimensions with tails.
inline constexpr MlaDecodeCase kMlaDecodeCases[] = {
    {16, 512, 64, 64, 5, {1, 1, 1, 1, 1}, {1, 63, 64, 65, 0}},
    {8, 512, 64, 1, 3, {1, 1, 1}, {40, 7, 130}},
    {1, 512, 64, 16, 4, {4, 1, 0, 2}, {66, 129, 9, 1}},
    {5, 512, 64, 7, 3, {3, 3, 3}, {2, 70, 0}},
    {128, 512, 64, 64, 2, {1, 2}, {70, 66}},
    {33, 512, 64, 48, 2, {1, 1}, {600, 5}},
    {65, 512, 64, 64, 1, {1}, {130}},
    {3, 96, 16, 16, 3, {1, 4, 2}, {21, 1100, 64}},
    {2, 128, 8, 3, 2, {1, 2}, {65, 127}},
    {4, 40, 0, 16, 2, {1, 1}, {17, 513}},
};

struct MlaDecodeBenchCase {
  int64_t sequences, rows, heads, keys;  // rows and keys of each sequence; sparse: keys of each row
};
inline constexpr MlaDecodeBenchCase kMlaDecodeBenchCases[] = {
    {1, 1, 128, 4096},  {16, 1, 128, 4096}, {128, 1, 128, 4096}, {1, 1, 16, 4096},  {128, 1, 16, 4096},
    {128, 1, 64, 4096}, {1, 1, 128, 65536}, {32, 2, 64, 8192},   {64, 4, 16, 8192},
};
inline constexpr MlaDecodeBenchCase kMlaSparseBenchCases[] = {
    {1, 1, 128, 2048}, {128, 1, 128, 2048}, {128, 2, 64, 2048}, {1, 4096, 128, 2048}};

}  // namespace sluice
