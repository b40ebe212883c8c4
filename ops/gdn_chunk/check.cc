#include "core/check.h"

#include "ops/gdn_chunk/forms.h"

namespace sluice::gdn {
namespace {

std::string sequence(const char* op, int64_t b) { return std::string(op) + ": sequence " + std::to_string(b); }

// What only the values tell. A wrong one would write outside the pool or break a chunk silently.
Status check_sequences(const char* op, const GdnArgs& a, Closing closing) {
  const int64_t R = a.state.g.dim(2);
  const bool varlen = a.cu_seqlens.present();
  const int64_t T = a.q.dim(0);
  const int32_t *start = a.start.as<int32_t>(), *slots = a.slots.as<int32_t>();
  for (int64_t b = 0; b < a.slots.dim(0); ++b) {
    int64_t begin = b, end = b + 1;
    if (varlen) begin = a.cu_seqlens.as<int32_t>()[b], end = a.cu_seqlens.as<int32_t>()[b + 1];
    if (begin < 0 || end < begin || end > T)
      return invalid(
          sequence(op, b) + " has rows " + std::to_string(begin) + " to " + std::to_string(end) + " of " + std::to_string(T),
          "cu_seqlens must rise from 0 to T");
    if (slots[b] < 0) continue;
    if (start[b] < 0) return invalid(sequence(op, b) + " starts at " + std::to_string(start[b]) + ", wanted 0 or more");
    const int64_t open = start[b] % R;
    if (a.has_state.present() && a.has_state.as<int32_t>()[b] == 0 && open != 0)
      return invalid(sequence(op, b) + " is new and has " + std::to_string(open) + " open rows, wanted none", "start it at 0");
    if (closing == Closing::kNever && open + end - begin > R)
      return invalid(sequence(op, b) + " has " + std::to_string(open) + " open and " + std::to_string(end - begin) +
                         " new rows, wanted at most " + std::to_string(R) + " together",
                     "end the draft where the chunk ends");
  }
  return {};
}

}  // namespace

bool dense_slots(const Tensor& t) { return t.rank > 1 && (t.dim(0) == 0 || t[0].contiguous()); }

bool dense_swapped_slots(const Tensor& t) { return dense_slots(t.on_gpu() ? t.swap_last_two() : t); }

Status check_slots(const char* op, const Tensor& slots, int64_t S) {
  if (slots.on_gpu()) return {};  // reading them would wait for the GPU
  for (int64_t b = 0; b < slots.dim(0); ++b)
    if (const int32_t slot = slots.as<int32_t>()[b]; slot >= S)
      return invalid(sequence(op, b) + " has slot " + std::to_string(slot) + ", wanted less than " + std::to_string(S));
  return {};
}

Status check_state(const char* op, const GdnState& s) {
  const auto &ss = s.s.shape, &ks = s.k.shape;
  ArgCheck c(op);
  const int64_t R = ks[3];
  c.rank("state.s", s.s, 4, 4).that(dense_swapped_slots(s.s), "state.s must be dense within a slot");
  c.rank("state.k", s.k, 4, 4).that(dense_swapped_slots(s.k), "state.k must be dense within a slot");
  if (s.s.on_gpu()) c.dtype("state.s", s.s, {DType::kF32, DType::kBF16});
  else c.dtype("state.s", s.s, {DType::kF32});
  c.dtype("state.k", s.k, {DType::kF32}).dtype("state.u", s.u, {DType::kF32}).dtype("state.g", s.g, {DType::kF32});
  c.that(R == 16 || R == 32 || R == kChunk, "state.k must have room for 16, 32 or 64 rows");
  c.shape("state.k", s.k, {ss[0], ks[1], ss[2], R}).shape("state.u", s.u, {ss[0], ss[1], R, ss[3]});
  c.shape("state.g", s.g, {ss[0], ss[1], R});
  c.that(dense_slots(s.u), "state.u must be dense within a slot").that(dense_slots(s.g), "state.g must be dense within a slot");
  c.that(ks[1] > 0 && ss[1] % std::max<int64_t>(ks[1], 1) == 0,
         "the number of value heads must be a multiple of that of key heads");
  return c.status();
}

Status check_args(const char* op, const GdnArgs& a, RowsPerSequence rows, Closing closing) {
  SLUICE_RETURN_IF_ERROR(check_state(op, a.state));
  const int64_t HK = a.state.k.dim(1), HV = a.state.s.dim(1), K = a.state.s.dim(2), V = a.state.s.dim(3);
  const int64_t T = a.q.dim(0), B = a.slots.dim(0);
  const std::initializer_list<DType> floats = {DType::kF32, DType::kBF16};
  ArgCheck c(op);
  c.shape("q", a.q, {T, HK, K}).dtype("q", a.q, floats).inner_contiguous("q", a.q);
  c.shape("k", a.k, {T, HK, K}).dtype("k", a.k, floats).inner_contiguous("k", a.k);
  c.shape("v", a.v, {T, HV, V}).dtype("v", a.v, floats).inner_contiguous("v", a.v);
  c.shape("o", a.o, {T, HV, V}).dtype("o", a.o, floats).inner_contiguous("o", a.o);
  c.shape("log_g", a.log_g, {T, HV}).dtype("log_g", a.log_g, {DType::kF32}).inner_contiguous("log_g", a.log_g);
  c.shape("beta", a.beta, {T, HV}).dtype("beta", a.beta, {DType::kF32}).inner_contiguous("beta", a.beta);
  c.shape("slots", a.slots, {B}).dtype("slots", a.slots, {DType::kI32}).inner_contiguous("slots", a.slots);
  c.shape("start", a.start, {B}).dtype("start", a.start, {DType::kI32}).inner_contiguous("start", a.start);
  if (a.has_state.present()) c.shape("has_state", a.has_state, {B}).dtype("has_state", a.has_state, {DType::kI32});
  if (rows == RowsPerSequence::kAny) {
    c.shape("cu_seqlens", a.cu_seqlens, {B + 1}).dtype("cu_seqlens", a.cu_seqlens, {DType::kI32});
  } else {
    c.that(!a.cu_seqlens.present(), "cu_seqlens must be absent: a sequence has one row")
        .that(T == B, "there must be one row a slot");
  }
  SLUICE_RETURN_IF_ERROR(c.status());
  if (a.slots.on_gpu()) return {};  // reading the values would wait for the GPU; kernels take slots >= S for padding
  SLUICE_RETURN_IF_ERROR(check_slots(op, a.slots, a.state.s.dim(0)));
  return check_sequences(op, a, closing);
}

Can vector_form(const GdnState& s) {
  if (s.g.dim(2) != kChunk) return Can::no("the chunk must be closed every 64 rows");
  return s.s.dim(2) % 16 == 0 && s.s.dim(3) % 16 == 0 ? Can{} : Can::no("K and V must be multiples of 16");
}

}  // namespace sluice::gdn
