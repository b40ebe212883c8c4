#include "engine/follow.h"

#include "base/archive.h"

namespace sluice {

// Whoever adds a field to one of these structs is told here. Of options, what is of one process alone stays there.
template <class F>
void each_field(ImplChoice& c, F&& f) {
  auto& [impl, strict] = c;
  f(impl), f(strict);
}

template <class F>
void each_field(PdlChoice& c, F&& f) {
  auto& [all, ops] = c;
  f(all), f(ops);
}

template <class F>
void each_field(EngineOptions& o, F&& f) {
  auto& [model, random_weights, dtype, quantize, device, threads, workspace, prefill_chunk, max_context, max_sequences, state_slots,
         kv_tokens, room_for_cache, speculate, batch_invariant, impl, tiles, pdl, graphs, int8_snapshots, lose_device_after,
         show_loading, ranks] = o;
  f(model), f(random_weights), f(dtype), f(quantize), f(device), f(threads), f(workspace), f(prefill_chunk), f(max_context), f(max_sequences);
  f(state_slots), f(kv_tokens), f(room_for_cache), f(speculate), f(batch_invariant), f(impl), f(tiles), f(pdl), f(graphs),
      f(int8_snapshots), f(lose_device_after);
}

template <class F>
void each_field(Batch& b, F&& f) {
  auto& [ids, positions, cu_seqlens, cu_settled, cu_rest, start, seq_lens, slots, block_table, pages_per_sequence, logit_rows,
         closed_rows, verify_sequences, single_sequences, one_row_each, padding_rows, padding_logits, invariant] = b;
  f(ids), f(positions), f(cu_seqlens), f(cu_settled), f(cu_rest), f(start), f(seq_lens), f(slots), f(block_table);
  f(pages_per_sequence), f(logit_rows), f(closed_rows), f(verify_sequences), f(single_sequences), f(one_row_each), f(padding_rows);
  f(padding_logits), f(invariant);
}

// Fields that an order of its kind does not have stay out of the message.
template <class F>
void each_field(Order& o, F&& f) {
  using enum Order::Kind;
  f(o.kind), f(o.copies);
  if (o.kind == kOpen) f(o.options);
  if (o.kind == kStep || o.kind == kDraft) f(o.batch);
  if (o.kind == kCloseChunks) f(o.slots), f(o.lengths);
}

Status tell(Ranks& ranks, const Order& order) {
  Packer pack;
  pack(order);
  std::vector<std::byte> bytes = pack.take();
  return ranks.broadcast(bytes);
}

Result<Order> hear(Ranks& ranks) {
  std::vector<std::byte> bytes;
  SLUICE_RETURN_IF_ERROR(ranks.broadcast(bytes));
  Order order;
  Unpacker unpack(bytes);
  unpack(order);
  SLUICE_RETURN_IF_ERROR(unpack.finish());
  return order;
}

Status follow(Ranks& ranks) {
  for (;;) {
    SLUICE_ASSIGN_OR_RETURN(Order order, hear(ranks));
    if (order.kind == Order::Kind::kLeave) return {};
    order.options.ranks = &ranks;
    // Where one rank cannot make its engine none can, and rank 0 says why.
    if (auto engine = Engine::create(order.options); engine.ok()) SLUICE_RETURN_IF_ERROR((*engine)->follow());
  }
}

}  // namespace sluice
