#include "core/check.h"
#include "ops/rope/forms.h"
#include "ops/rope/rope.h"

namespace sluice {

namespace {

void check_heads(ArgCheck& c, const char* in, const Tensor& x, const char* out, const Tensor& y, int64_t T, int64_t rotary_dim) {
  c.rank(in, x, 3, 3).dtype(in, x, {DType::kF32, DType::kBF16}).inner_contiguous(in, x).shape(in, x, {T, x.shape[1], x.shape[2]});
  c.that(x.shape[2] >= rotary_dim, "inv_freq has more entries than half of the head dimension");
  c.dtype(out, y, {DType::kF32, DType::kBF16}).inner_contiguous(out, y).shape(out, y, {T, x.shape[1], x.shape[2]});
}

}  // namespace

Status check_rope(const RopeArgs& a) {
  const auto& section = a.mrope_section;
  ArgCheck c("rope");
  c.rank("positions", a.positions, 1, 2).dtype("positions", a.positions, {DType::kI32});
  if (a.positions.rank == 2) c.shape("positions", a.positions, {3, a.positions.shape[1]});
  const int64_t T = a.positions.rank > 0 ? a.positions.shape[a.positions.rank - 1] : 0, pairs = a.inv_freq.shape[0];
  c.rank("inv_freq", a.inv_freq, 1, 1).dtype("inv_freq", a.inv_freq, {DType::kF64}).inner_contiguous("inv_freq", a.inv_freq);
  c.that(a.q.present() || a.k.present(), "q and k are both missing");
  if (a.q.present()) check_heads(c, "q", a.q, "q_out", a.q_out, T, 2 * pairs);
  if (a.k.present()) check_heads(c, "k", a.k, "k_out", a.k_out, T, 2 * pairs);
  if (a.positions.rank == 2)
    c.that(section[0] >= 0 && section[1] >= 0 && section[2] >= 0 && int64_t(section[0]) + section[1] + section[2] == pairs,
           "mrope_section must be three counts of pairs that add up to the length of inv_freq");
  return c.status();
}

// Of one thread: the angles of a token in fp64, then their cosines and sines in fp32, twice over for interleaved pairs.
size_t rope_workspace(const Context& ctx, const RopeArgs& a) {
  return size_t(ctx.team->size()) * rope_table_length(a) * (sizeof(double) + 2 * sizeof(float));
}

namespace {

// A GPU counts a token's elements and the blocks of a grid in 32 bits.
Can rope_cuda_can(const RopeArgs& a) {
  const auto elements = [](const Tensor& x) { return x.present() ? x.shape[1] * x.shape[2] : 0; };
  const int64_t of_token = elements(a.q) + elements(a.k), tokens = a.positions.rank ? a.positions.shape[a.positions.rank - 1] : 0;
  constexpr int64_t kMost = INT32_MAX, kElementsOfBlock = 256;
  const bool few = of_token <= kMost && tokens * (of_token / kElementsOfBlock + 1) <= kMost;
  return few ? Can{} : Can::no("it has more elements than the kernel's grid counts");
}

constexpr Impl<RopeArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .can = rope_cuda_can, .run = SLUICE_CUDA_FORM(rope_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .workspace = rope_workspace, .run = rope_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .workspace = rope_workspace, .run = rope_avx2},
    {.name = "cpu", .workspace = rope_workspace, .run = rope_cpu},
    {.name = "reference", .run = rope_reference},
};
}  // namespace

std::span<const Impl<RopeArgs>> rope_impls() { return kImpls; }
OpInfo rope_op_info() { return describe_op("rope", rope_impls()); }
Status rope(Context& ctx, const RopeArgs& a) { return dispatch("rope", rope_impls(), check_rope, ctx, a); }

}  // namespace sluice
