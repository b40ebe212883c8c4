// Which tile a kernel takes, where it was compiled in several: the first that the device's shared memory holds, or the one that
// SLUICE_TILE asks for. Decided, and refused, before anything is launched. Pure: tests make devices up.
#pragma once

#include <array>
#include <cassert>
#include <span>

#include "core/context.h"

namespace sluice {

struct Tile {
  int size = 0;       // in the unit that the form counts in
  size_t shared = 0;  // bytes of shared memory that a block needs
};

// The tiles of a form that serve a call, best first.
class Tiles {
 public:
  explicit Tiles(const char* unit) : unit_(unit) {}  // "columns"
  void add(int size, size_t shared) {
    assert(count_ < kMost);
    tile_[count_++] = {size, shared};
  }
  const char* unit() const { return unit_; }
  std::span<const Tile> all() const { return {tile_.data(), size_t(count_)}; }

 private:
  static constexpr int kMost = 4;
  const char* unit_;
  std::array<Tile, kMost> tile_{};
  int count_ = 0;
};

// The size of the tile that a call takes. `form` is "OPERATOR:FORM".
Result<int> choose_tile(const Context& ctx, std::string_view form, const Tiles& tiles);

struct OpInfo;

// Refuses choices for forms that have no tiles to choose among.
Status check_tile_choices(const TileChoices& choices, std::span<const OpInfo> ops);

}  // namespace sluice
