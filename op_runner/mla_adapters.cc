// Operators of multi-head latent attention on its way to and from the cache.
#include "op_runner/op_runner.h"
#include "ops/mla_rope_quantize/mla_rope_quantize.h"

namespace sluice {
namespace {

// The files have codes of fp8 as bytes.
Tensor codes(OpCall& call, const std::string& name, const Tensor& in, DType fp8) {
  Tensor out = call.make(DType::kU8, {in.dim(0), in.dim(1)});
  if (in.rank == 3) out = call.make(DType::kU8, {in.dim(0), in.dim(1), in.dim(2)});
  call.output(name, out);
  out.dtype = fp8;
  return out;
}

Status run_rope_quantize(OpCall& call) {
  SLUICE_NEED(q_rope, "q_rope");
  SLUICE_NEED(k_rope, "k_rope");
  SLUICE_NEED(q_nope, "q_nope");
  SLUICE_NEED(k_nope, "k_nope");
  SLUICE_NEED(cos_sin, "cos_sin_cache");
  SLUICE_NEED(positions, "positions");
  const std::string type = call.text("dtype", "e4m3fn");
  if (type != "e4m3fn" && type != "e4m3" && type != "e5m2") return invalid("dtype is " + type + ", wanted e4m3fn or e5m2");
  const DType fp8 = type == "e5m2" ? DType::kF8E5M2 : DType::kF8E4M3;
  return call.run(mla_rope_quantize, {.q_rope = q_rope,
                                      .k_rope = k_rope,
                                      .q_nope = q_nope,
                                      .k_nope = k_nope,
                                      .cos_sin = cos_sin,
                                      .positions = positions,
                                      .q_rope_out = codes(call, "q_rope", q_rope, fp8),
                                      .k_rope_out = codes(call, "k_rope", k_rope, fp8),
                                      .q_nope_out = codes(call, "q_nope", q_nope, fp8),
                                      .k_nope_out = codes(call, "k_nope", k_nope, fp8),
                                      .style = call.flag("is_neox", false) ? RopeStyle::kHalfSplit : RopeStyle::kInterleaved,
                                      .scale_q = float(call.number("quant_scale_q", 1)),
                                      .scale_kv = float(call.number("quant_scale_kv", 1))});
}

}  // namespace

std::vector<OpAdapter> mla_adapters() { return {{"mla_rope_quantize_fp8", "mla_rope_quantize", run_rope_quantize, {}}}; }

}  // namespace sluice
