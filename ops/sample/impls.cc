#include <cmath>

#include "core/check.h"
#include "ops/sample/forms.h"
#include "ops/sample/sample.h"

namespace sluice {

namespace {

Status check_params(const SamplingParams& p) {
  const auto wrong = [](const char* name, double value, const char* wanted) {
    return invalid(std::string(name) + " is " + std::to_string(value) + ", wanted " + wanted);
  };
  if (!(p.temperature >= 0 && std::isfinite(p.temperature))) return wrong("temperature", p.temperature, "0 or more");
  if (p.top_k < 0) return wrong("top_k", p.top_k, "0 (all) or more");
  if (!(p.top_p > 0 && p.top_p <= 1)) return wrong("top_p", p.top_p, "more than 0, at most 1");
  if (!(p.min_p >= 0 && p.min_p <= 1)) return wrong("min_p", p.min_p, "0 to 1");
  if (!(p.repetition_penalty > 0 && std::isfinite(p.repetition_penalty)))
    return wrong("repetition_penalty", p.repetition_penalty, "more than 0");
  if (!std::isfinite(p.presence_penalty)) return wrong("presence_penalty", p.presence_penalty, "a finite number");
  if (!std::isfinite(p.frequency_penalty)) return wrong("frequency_penalty", p.frequency_penalty, "a finite number");
  return {};
}

// Ids are places in memory: each is looked at.
Status check_lists(const SampleRow& row, int64_t V) {
  const auto wrong = [&](const char* list, int64_t id) {
    return invalid(std::string(list) + " has token " + std::to_string(id) + ", wanted 0 to " + std::to_string(V - 1));
  };
  const auto outside = [&](int32_t id) { return id < 0 || id >= V; };
  for (const TokenUse& use : row.used)
    if (outside(use.id)) return wrong("used", use.id);
  for (const int32_t id : row.banned)
    if (outside(id)) return wrong("banned", id);
  for (const int32_t id : row.allowed)
    if (outside(id)) return wrong("allowed", id);
  for (const LogitBias& add : row.bias) {
    if (outside(add.id)) return wrong("bias", add.id);
    if (!std::isfinite(add.bias))
      return invalid("bias of token " + std::to_string(add.id) + " is not finite", "to forbid a token, ban it");
  }
  return {};
}

}  // namespace

Status check_sample_row(const SamplingParams& params, const SampleRow& row, int64_t V) {
  SLUICE_RETURN_IF_ERROR(check_params(params));
  return check_lists(row, V);
}

Status check_sample(const SampleArgs& a) {
  const int64_t B = a.logits.shape[0];
  ArgCheck c("sample");
  c.rank("logits", a.logits, 2, 2).dtype("logits", a.logits, {DType::kF32}).inner_contiguous("logits", a.logits);
  c.that(a.logits.shape[1] > 0, "logits has no columns");
  c.that(int64_t(a.params.size()) == B, "params must have one entry for each row of logits");
  c.that(a.rows.empty() || int64_t(a.rows.size()) == B, "rows must be left out or have one entry for each row of logits");
  c.dtype("positions", a.positions, {DType::kI32}).shape("positions", a.positions, {B}).inner_contiguous("positions", a.positions);
  c.dtype("ids", a.ids, {DType::kI32}).shape("ids", a.ids, {B}).inner_contiguous("ids", a.ids);
  if (a.logprobs.present())
    c.dtype("logprobs", a.logprobs, {DType::kF32}).shape("logprobs", a.logprobs, {B}).inner_contiguous("logprobs", a.logprobs);
  SLUICE_RETURN_IF_ERROR(c.status());
  for (size_t b = 0; b < a.params.size(); ++b) {
    const Status row = check_sample_row(a.params[b], a.rows.empty() ? SampleRow{} : a.rows[b], a.logits.shape[1]);
    if (!row.ok()) return row.in("sample: row " + std::to_string(b));
  }
  return {};
}

namespace {
constexpr Impl<SampleArgs> kImpls[] = {
    {.name = "portable",
     .isa = Isa::kCuda,
     .can = SLUICE_CUDA_FORM(sample_cuda_can),
     .workspace = SLUICE_CUDA_FORM(sample_cuda_workspace),
     .run = SLUICE_CUDA_FORM(sample_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .workspace = sample_workspace, .run = sample_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .workspace = sample_workspace, .run = sample_avx2},
    {.name = "cpu", .workspace = sample_workspace, .run = sample_cpu},
    {.name = "reference", .run = sample_reference},
};
}  // namespace

std::span<const Impl<SampleArgs>> sample_impls() { return kImpls; }
OpInfo sample_op_info() { return describe_op("sample", sample_impls()); }
Status sample(Context& ctx, const SampleArgs& a) { return dispatch("sample", sample_impls(), check_sample, ctx, a); }

}  // namespace sluice
