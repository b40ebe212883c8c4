// sample: one token of each row of logits.
//
//   temperature 0: the largest logit, the lowest id among equals. Otherwise softmax(logits / temperature), then top_k, then top_p
//   (smallest set of best tokens whose share of what top_k left reaches top_p), then min_p (probability at least min_p times the
//   best's), each in order of (logit down, id up), and a draw: the first token in that order at which the running weight passes
//   u times the weight of all that are left. u = uniform(seed, position) is a counter-based generator (Philox 4x32-10, Salmon et
//   al. 2011), so the same seed and position give the same token whatever the batch.
//   logprobs[b] = log softmax(logits)[chosen], before temperature and filters
//
// Tolerance: ids equal but where u falls within 1e-12 of a border; logprobs absolute 1e-5 + 1e-6 |logprob|.
// A row with a logit that is NaN or infinite gives ids = -1 and logprobs = NaN; the caller reports it.
#pragma once

#include <cstdint>
#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

struct SamplingParams {
  float temperature = 0;  // >= 0
  int top_k = 0;          // 0: all
  float top_p = 1;        // (0, 1]
  float min_p = 0;        // [0, 1]
  uint64_t seed = 0;
};

struct SampleArgs {
  Tensor logits;                           // [B, V] f32, stride free in dimension 0
  std::span<const SamplingParams> params;  // B entries
  Tensor positions;                        // [B] i32: position of the token that is drawn
  Tensor ids;                              // [B] i32
  Tensor logprobs;                         // [B] f32
};

Status check_sample(const SampleArgs& a);
std::span<const Impl<SampleArgs>> sample_impls();
Status sample(Context& ctx, const SampleArgs& a);

}  // namespace sluice
