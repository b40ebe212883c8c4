// From a row's block results to its log-probabilities: the scalar half of the vector forms.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/checked.h"
#include "core/buffer.h"
#include "core/rows.h"
#include "ops/token_logprobs/scratch.h"

namespace sluice {
namespace {

constexpr float kNothing = std::numeric_limits<float>::quiet_NaN();

// The `most` best of what is offered in order of id, best first.
struct Best {
  struct Token {
    float logit;
    int32_t id;
  };
  int64_t most, count = 0;
  Token token[kMostTokenLogprobs];

  // Whether a logit would be taken. Of equals the first to come stays, which has the lowest id.
  bool takes(float logit) const { return count < most || logit > token[count - 1].logit; }
  void offer(float logit, int32_t id) {
    if (!takes(logit)) return;
    int64_t at = count < most ? count++ : count - 1;
    for (; at > 0 && token[at - 1].logit < logit; --at) token[at] = token[at - 1];
    token[at] = {logit, id};
  }
};

// First the groups whose maxima are the best, as that many tokens are at least as good: only those above the worst of them, and
// those equal to it, can be among the best tokens.
Best best_of_row(const float* x, const float* group_max, const TokenLogprobsScratch& s, int64_t most) {
  Best groups{most}, best{most};
  for (int64_t g = 0; g < s.groups; ++g) groups.offer(group_max[g], int32_t(g));
  const float enough = groups.count < most ? std::numeric_limits<float>::lowest() : groups.token[most - 1].logit;
  for (int64_t g = 0; g < s.groups; ++g) {
    if (!(group_max[g] >= enough && best.takes(group_max[g]))) continue;
    const int64_t end = std::min(s.V, (g + 1) * kLogitGroup);
    for (int64_t i = g * kLogitGroup; i < end; ++i)
      if (x[i] >= enough) best.offer(x[i], int32_t(i));
  }
  return best;
}

}  // namespace

size_t token_logprobs_workspace(const Context&, const TokenLogprobsArgs& a) {
  const int64_t R = a.logits.shape[0], V = a.logits.shape[1];
  return size_t(R * ceil_div(V, kLogitBlock)) * (sizeof(LogitBlock) + sizeof(int32_t)) +
         size_t(R * ceil_div(V, kLogitGroup)) * sizeof(float);
}

TokenLogprobsScratch token_logprobs_scratch(const TokenLogprobsArgs& a, std::byte* memory) {
  const int64_t R = a.logits.shape[0], V = a.logits.shape[1];
  TokenLogprobsScratch s{.V = V, .groups = ceil_div(V, kLogitGroup), .blocks = ceil_div(V, kLogitBlock)};
  s.block = reinterpret_cast<LogitBlock*>(memory);
  s.above = reinterpret_cast<int32_t*>(s.block + R * s.blocks);
  s.group_max = reinterpret_cast<float*>(s.above + R * s.blocks);
  return s;
}

void token_logprobs_finish_row(const TokenLogprobsArgs& a, int64_t r, const TokenLogprobsScratch& s) {
  const float* x = Rows(a.logits).row<float>(r);
  const LogitBlock* block = s.block + r * s.blocks;
  float finite = 0;
  double sum = 0;
  int32_t above = 0;
  for (int64_t i = 0; i < s.blocks; ++i) finite += block[i].finite, sum += block[i].sum, above += s.above[r * s.blocks + i];
  const double max = max_of_blocks(block, s.blocks), log_sum = std::log(sum);
  const auto logprob = [&](float logit) { return float(double(logit) - max - log_sum); };

  const int32_t id = a.ids.as<int32_t>()[r];
  const bool known = id >= 0 && finite == 0;
  a.logprobs.as<float>()[r] = known ? logprob(x[id]) : kNothing;
  a.ranks.as<int32_t>()[r] = known ? above + 1 : 0;
  if (!a.counts.present()) return;
  const int64_t wanted = finite == 0 ? a.counts.as<int32_t>()[r] : 0;
  Best best{0};
  if (wanted > 0) best = best_of_row(x, s.group_max + r * s.groups, s, wanted);
  int32_t* ids = Rows(a.best_ids).row<int32_t>(r);
  float* logprobs = Rows(a.best_logprobs).row<float>(r);
  for (int64_t i = 0; i < a.best_ids.shape[1]; ++i) {
    ids[i] = i < best.count ? best.token[i].id : -1;
    logprobs[i] = i < best.count ? logprob(best.token[i].logit) : kNothing;
  }
}

}  // namespace sluice
