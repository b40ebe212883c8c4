// The implementations, one a file.
#pragma once

#include "base/checked.h"
#include "ops/sample/sample.h"

namespace sluice {

Status sample_reference(Context&, const SampleArgs&, std::byte*);
Status sample_cpu(Context&, const SampleArgs&, std::byte*);
Status sample_avx512(Context&, const SampleArgs&, std::byte*);

// The vector forms cut a row into blocks, the unit of work of a thread and of summation, and those into groups, whose largest
// logits tell later passes where to look.
inline constexpr int64_t kSampleBlock = 4096, kSampleGroup = 64;

struct SampleBlock {
  float max;
  float finite;   // 0, or NaN if a logit is NaN or infinite
  double sum;     // of e^(logit - row's max)
  double weight;  // of e^((logit - row's max) / temperature), where the draw needs it
};

struct SampleCandidate {
  double weight;  // e^((logit - row's max) / temperature)
  float logit;
  int32_t id;
};

// What the vector forms keep of each row, and a thread's candidates.
struct SampleScratch {
  int64_t V, groups, blocks;
  SampleBlock* block;          // [B, blocks]
  float* group_max;            // [B, groups]
  SampleCandidate* candidate;  // [threads, V]
};

size_t sample_workspace(const Context& ctx, const SampleArgs& a);
SampleScratch sample_scratch(const SampleArgs& a, std::byte* memory);

// Whether the total weight of all tokens is needed: not for greedy rows, and with top_k only those kept count.
bool sample_needs_total(const SamplingParams& p, int64_t V);

// The largest logit of row b, after the first pass.
float sample_row_max(const SampleScratch& s, int64_t b);

// Sets the weights of n candidates of a row; passed in, so that it runs with the instruction set of the form.
using SampleWeigh = void (*)(SampleCandidate* c, int64_t n, float max, float temperature);

// Row b from its blocks and groups to its id and log-probability. Candidates go to `thread`'s part of the scratch.
void sample_finish_row(const SampleArgs& a, int64_t b, const SampleScratch& s, SampleWeigh weigh, int thread);

}  // namespace sluice
