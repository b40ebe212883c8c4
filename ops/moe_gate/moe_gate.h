// moe_gate: which experts a token goes to, and with what weights, from the router's logits.
//
//   s = sigmoid(logit), or softmax(logits) over all experts
//   c = s + bias                                                     the bias counts for choosing only
//   a group's score: the sum of the two largest c of its E / n_group experts (of one, where it has but one)
//   of the topk_group groups of the largest scores, the top_k experts of the largest c; other groups' experts are never chosen
//   weight = s / (sum of the chosen s + 1e-20 if renormalize, else 1) * (routed_scaling if scale_weights, else 1)
//
// Chosen experts come in descending order of c. Equal c, or equal groups' scores: the lower index first. NaN is below -inf. So a
// row always has top_k different experts. This is noaux_tc of DeepSeek-V3 (arXiv 2412.19437) with sigmoid, and the router of Qwen's
// models with softmax. A softmax without a bias and without groups to choose is ordered by its logits, of which it is a rising
// function, so that it has no more ties than they have.
//
// A shared expert is one more entry behind the chosen ones: id E, and the weight by which it counts once in the end, 1 if
// scale_weights, else 1 / routed_scaling (the caller multiplies all by routed_scaling later).
//
// All is fp32. s is the expression of score.h, without a fused multiply-add and with sums in one fixed order: ids and weights have
// the same bits in every implementation. Against the formula in fp64 the relative error of a sigmoid is below 2.5e-7 and of a
// softmax below 1e-6 + 6e-8 |logit - largest logit|, so that experts or groups whose scores differ by less may change places; every
// other choice is that of fp64.
//
// Logits beyond the finite numbers: an infinite one counts as the largest finite number of its sign in a softmax. A NaN logit
// counts as the lowest there, has s = NaN, and makes weights NaN only where it is chosen. A sigmoid is at least 1.6e-38.
#pragma once

#include <cstdint>
#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

enum class GateScoring : unsigned char { kSigmoid, kSoftmax };

struct MoeGateArgs {
  static constexpr int64_t kMostExperts = 1024, kMostChosen = 32;

  Tensor logits;        // [T, E] f32 or bf16, stride free in dimension 0; E <= kMostExperts
  Tensor bias;          // [E] f32; may be absent
  Tensor topk_weights;  // [T, top_k (+ 1 with a shared expert)] f32, stride free in dimension 0
  Tensor topk_ids;      // the same shape, i32
  GateScoring scoring = GateScoring::kSigmoid;
  int64_t top_k = 8;  // at most kMostChosen, and as many as topk_group groups have
  int64_t n_group = 1, topk_group = 1;
  bool renormalize = true;
  float routed_scaling = 1;
  bool scale_weights = false;
  bool shared_expert = false;
};

template <class F>
void each_tensor(MoeGateArgs& a, F&& f) {
  f(a.logits), f(a.bias), f(a.topk_weights), f(a.topk_ids);
}

Status check_moe_gate(const MoeGateArgs& a);
std::span<const Impl<MoeGateArgs>> moe_gate_impls();
Status moe_gate(Context& ctx, const MoeGateArgs& a);

}  // namespace sluice
