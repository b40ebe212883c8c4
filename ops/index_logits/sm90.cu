// index_logits on compute capability 9.0: e4m3 keys and queries of 128 elements through wgmma; see sm90.cuh.
#include <algorithm>
#include <climits>

#include "base/checked.h"
#include "core/cuda/tma.h"
#include "ops/index_logits/forms.h"
#include "ops/index_logits/sm90.cuh"

namespace sluice {
namespace logits_sm90 {

// Blocks are many enough for the GPU, and long enough for what each does before its first product.
template <class S>
Blocks blocks_of(const Context& ctx, const IndexLogits& p) {
  constexpr int64_t kFew = 512, kMost = 8192;  // columns
  Blocks b;
  b.tokens_of_sequence = p.keys.table ? p.next_n : p.tokens;
  b.units_of_sequence = ceil_div(b.tokens_of_sequence, S::kTokens);
  b.units = p.tokens / b.tokens_of_sequence * b.units_of_sequence;
  const int64_t slots = int64_t(ctx.gpu->sms) * S::kBlocks, share = ceil_div(p.width * b.units, slots);  // of one, in columns
  b.across = ceil_div(p.width, std::clamp(ceil_div(share, 4), std::min(kFew, share), kMost));
  b.columns = round_up(ceil_div(p.width, b.across), 2 * kTile);
  b.across = ceil_div(p.width, b.columns);
  return b;
}

template <class S>
Status launch_shape(const Context& ctx, const IndexLogitsArgs& args, const IndexLogits& p) {
  static_assert(S::kBlocks * (sizeof(Shared<S>) + 1024) <= 228 << 10);
  const Blocks b = blocks_of<S>(ctx, p);
  if (b.across > INT_MAX / b.units)
    return {Code::kUnsupported, "index_logits: " + std::to_string(p.tokens) + " x " + std::to_string(p.width) +
                                    " logits are more than one launch takes"};
  const bool paged = p.keys.table;
  const MatrixBands keys{.type = CU_TENSOR_MAP_DATA_TYPE_UINT8,
                         .element_bytes = 1,
                         .data = const_cast<std::byte*>(p.keys.codes),
                         .count = paged ? args.cache.dim(0) : 1,
                         .rows = paged ? args.page_size : args.k.dim(0),
                         .columns = kDim,
                         .pitch = paged ? p.keys.page_bytes : kDim,
                         .band = kTile,
                         .row_pitch = paged || args.k.dim(0) == 1 ? kDim : p.keys.row_bytes};
  CUtensorMap map;
  SLUICE_RETURN_IF_ERROR(encode_bands(&map, keys));
  return launch(ctx, logits_sm90_kernel<S>,
                {.grid = unsigned(b.units * b.across), .block = S::kThreads, .shared = sizeof(Shared<S>), .dependent = true}, map,
                p, b);
}

// As many tokens a block as share keys, up to those of two products of 128 columns.
template <int kHeads>
Status launch_heads(const Context& ctx, const IndexLogitsArgs& args, const IndexLogits& p) {
  constexpr int kOf64 = 64 / kHeads;
  const int64_t together = p.keys.table ? p.next_n : p.tokens;
  if (together <= kOf64) return launch_shape<Shape<kHeads, kOf64, 1, 2>>(ctx, args, p);
  if (together <= 2 * kOf64) return launch_shape<Shape<kHeads, 2 * kOf64, 2, 2>>(ctx, args, p);
  return launch_shape<Shape<kHeads, 4 * kOf64, 2, 1>>(ctx, args, p);
}

}  // namespace logits_sm90

Status index_logits_sm90(Context& ctx, const IndexLogitsArgs& args, std::byte*) {
  const IndexLogits p(args);
  if (p.tokens == 0 || p.width == 0) return {};
  return p.heads <= 32 ? logits_sm90::launch_heads<32>(ctx, args, p) : logits_sm90::launch_heads<64>(ctx, args, p);
}

}  // namespace sluice
