#include "core/tile.h"

#include <algorithm>

#include "core/impl.h"

namespace sluice {
namespace {

std::string kilobytes(size_t bytes) { return std::to_string((bytes + 1023) / 1024) + " KB"; }

// What there is, and what the device has.
std::string listed(const Tiles& tiles, const Gpu& gpu) {
  std::string list;
  for (const Tile& t : tiles.all()) {
    list += (list.empty() ? "" : ", ") + std::to_string(t.size) + " (" + kilobytes(t.shared);
    list += t.shared > gpu.shared_memory ? ", too much)" : ")";
  }
  return "there are tiles of " + list + " " + tiles.unit() + ", by the shared memory that a block needs, and " + gpu.name +
         " gives it " + kilobytes(gpu.shared_memory);
}

// Null: none.
const int* choice_of(const Context& ctx, std::string_view form) {
  if (!ctx.tiles) return nullptr;
  const auto choice = ctx.tiles->find(form);
  return choice == ctx.tiles->end() ? nullptr : &choice->second;
}

}  // namespace

Result<int> choose_tile(const Context& ctx, std::string_view form, const Tiles& tiles) {
  const auto fits = [&](const Tile& t) { return t.shared <= ctx.gpu->shared_memory; };
  const auto all = tiles.all();
  const auto best = std::ranges::find_if(all, fits);
  const int* wanted = choice_of(ctx, form);
  const auto tile = wanted ? std::ranges::find(all, *wanted, &Tile::size) : best;
  if (tile != all.end() && fits(*tile)) return tile->size;
  const std::string what = wanted ? "SLUICE_TILE=" + std::string(form) + ":" + std::to_string(*wanted) : std::string(form);
  return Status(Code::kUnsupported, what + " cannot serve this call: " + listed(tiles, *ctx.gpu),
                best == all.end() ? "use another form" : "use " + std::to_string(best->size));
}

Status check_tile_choices(const TileChoices& choices, std::span<const OpInfo> ops) {
  std::string known;
  std::vector<std::string> forms;
  for (const OpInfo& op : ops)
    for (const ImplInfo& impl : op.impls)
      if (impl.tiled) forms.push_back(std::string(op.name) + ":" + impl.name), known += (known.empty() ? "" : ", ") + forms.back();
  for (const auto& [form, size] : choices)
    if (std::ranges::find(forms, form) == forms.end())
      return invalid("SLUICE_TILE: " + form + " has no tiles to choose among",
                     known.empty() ? "no form of this build has any" : "these have: " + known);
  return {};
}

}  // namespace sluice
