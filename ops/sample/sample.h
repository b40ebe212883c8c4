// sample: one token of each row of logits.
//
//   1. adjust, in fp32 and in this order: tokens that `allowed` leaves out become -inf; bias is added; of each token used,
//        z > 0 ? z / repetition_penalty : z * repetition_penalty      (in the prompt or the answer; CTRL, Keskar et al. 2019)
//        z - frequency_penalty * out_count                            (in the answer; this and the next: OpenAI's API reference)
//        z - presence_penalty * (out_count > 0)
//      and banned tokens become -inf. No other z leaves fp32's finite range: it stops at the range's end.
//   2. temperature 0: the largest z, the lowest id among equals. Otherwise softmax(z / temperature), then top_k, then top_p
//      (smallest set of best tokens whose share of what top_k left reaches top_p), then min_p (probability at least min_p times
//      the best's). The best are those with the largest z; among equals, with the lowest id.
//   3. draw: the first token, in order of id, at which the running weight of what is left passes u times all of it.
//      u = uniform(seed, position) is a counter-based generator (Philox 4x32-10, Salmon et al. 2011), so the same seed and position
//      give the same token whatever the batch.
//   logprobs[b] = log softmax(logits)[chosen]: of the model's own distribution, before all of the above
//
// Steps 1 and 2 are in vLLM's order (docs.vllm.ai, vllm.v1.sample.sampler, v0.22: allowed ids, bad words, min_tokens, bias,
// repetition, frequency, presence, temperature, top_k, top_p), where -inf stays -inf whenever it is set, so that banned tokens may
// come last here. One thing differs: vLLM filters min_p before top_k; here it comes after top_p.
//
// Tolerance: ids equal but where u, top_p or min_p fall within 1e-12 of a border; logprobs absolute 1e-5 + 1e-6 |logprob|.
// A row without a token has logprobs = NaN and an id that says why, for the caller to report: kSampleNotFinite where one of the
// model's logits is NaN or infinite, whichever token that is; kSampleNothingLeft where every token is banned or not allowed.
#pragma once

#include <cstdint>
#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

inline constexpr int32_t kSampleNotFinite = -1, kSampleNothingLeft = -2;

struct SamplingParams {
  float temperature = 0;  // >= 0
  int top_k = 0;          // 0: all
  float top_p = 1;        // (0, 1]
  float min_p = 0;        // [0, 1]
  uint64_t seed = 0;
  float repetition_penalty = 1;  // > 0
  float presence_penalty = 0, frequency_penalty = 0;
};

// A token that the sequence has, and how often in its answer.
struct TokenUse {
  int32_t id;
  bool in_prompt;
  int32_t out_count;
};

struct LogitBias {
  int32_t id;
  float bias;  // finite
};

// What step 1 does to a row, beside its penalties. Ids in any order; each once, in `used` and in `bias`.
struct SampleRow {
  std::span<const TokenUse> used;
  std::span<const LogitBias> bias;
  std::span<const int32_t> banned;   // stop tokens before min_tokens, the last tokens of bad words, ...
  std::span<const int32_t> allowed;  // empty: all
};

struct SampleArgs {
  Tensor logits;                           // [B, V] f32, stride free in dimension 0
  std::span<const SamplingParams> params;  // B entries
  std::span<const SampleRow> rows;         // B entries, or none: nothing used, biased, banned
  Tensor positions;                        // [B] i32: position of the token that is drawn
  Tensor ids;                              // [B] i32
  Tensor logprobs;                         // [B] f32, or absent: a greedy row then takes one pass less
};

template <class F>
void each_tensor(SampleArgs& a, F&& f) {
  f(a.logits), f(a.positions), f(a.ids), f(a.logprobs);
}

// What check_sample() asks of each row: parameters in their ranges, ids of a vocabulary of V.
Status check_sample_row(const SamplingParams& params, const SampleRow& row, int64_t V);
Status check_sample(const SampleArgs& a);
std::span<const Impl<SampleArgs>> sample_impls();
Status sample(Context& ctx, const SampleArgs& a);

}  // namespace sluice
