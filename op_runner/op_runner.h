// Operators on tensors by name, as the oracle files name them: what `sluice op` and oracle_tests share.
//
// An adapter maps a case (named inputs and JSON parameters) to calls of operators and names the outputs. It is the only place
// that knows the files' layouts; the operators know their own.
#pragma once

#include <boost/json.hpp>
#include <deque>
#include <map>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "core/context.h"
#include "core/impl.h"
#include "core/tensor.h"
#if SLUICE_HAS_CUDA
#include "core/cuda/staging.h"
#endif

namespace sluice {

using NamedTensors = std::map<std::string, Tensor, std::less<>>;

// One call of an adapter: its inputs, where outputs are collected, and the memory behind them.
class OpCall {
 public:
  // `dtype` is what floating-point outputs are written in, and what operands are where an operator has a choice.
  OpCall(Context& ctx, const NamedTensors& in, const boost::json::object& params, DType dtype)
      : ctx_(ctx), in_(in), params_(params), dtype_(dtype) {}

  DType dtype() const { return dtype_; }

  // Calls an operator on tensors of the host: run(gdn_prefill, {...}). Where the context is a GPU's, the tensors' twins in its
  // memory are the arguments, and everything is copied back.
  template <class Args>
  Status run(Status (*op)(Context&, const Args&), const std::type_identity_t<Args>& args) {
#if SLUICE_HAS_CUDA
    if constexpr (GpuArgs<Args>)
      if (ctx_.gpu) return cuda::staged(ctx_, args, [&](const Args& on_gpu) { return op(ctx_, on_gpu); });
#endif
    return op(ctx_, args);
  }

  // Input "name"; absent (rank 0) when the case has none. need() records an error instead.
  Tensor find(std::string_view name) const;
  Tensor need(std::string_view name);
  // An operand as the form wants it: on a GPU in the call's type and as aligned as an engine's tensors, on the CPU as in the file.
  Tensor operand(const Tensor& t) { return ctx_.gpu ? copy(t, dtype_) : t; }
  double number(std::string_view name, double fallback) const;
  float scale_for(int64_t dim) const;  // of products over so many elements: "scale", or dim^-0.5
  bool flag(std::string_view name, bool fallback) const;
  std::string text(std::string_view name, std::string fallback) const;
  const boost::json::object& params() const { return params_; }

  // Zero-filled memory that lives as long as the call.
  Tensor make(DType dtype, std::initializer_list<int64_t> dims);
  Tensor ints(const std::vector<int32_t>& values);
  // A dense copy, converted between f32 and bf16.
  Tensor copy(const Tensor& t, DType dtype);
  Tensor copy(const Tensor& t) { return copy(t, t.dtype); }

  Tensor output(const std::string& name, DType dtype, std::initializer_list<int64_t> dims) {
    return outputs_[name] = make(dtype, dims);
  }
  void output(const std::string& name, const Tensor& t) { outputs_[name] = t; }
  const NamedTensors& outputs() const { return outputs_; }
  const Status& status() const { return status_; }

 private:
  Context& ctx_;
  const NamedTensors& in_;
  const boost::json::object& params_;
  DType dtype_;
  NamedTensors outputs_;
  std::deque<std::vector<std::byte>> memory_;
  Status status_;
};

// const Tensor var = input "name"; ends the adapter where it is missing, because its dimensions are read next.
#define SLUICE_NEED(var, name)        \
  const Tensor var = call.need(name); \
  if (!var.present()) return call.status()

struct OpAdapter {
  const char* oracle;  // the operator's name in the oracle files
  const char* op;      // the operator that is under test, whose implementations are listed
  Status (*run)(OpCall&);
  std::vector<const char*> also;  // other operators that the adapter calls; forced along where they have the implementation
};

std::span<const OpAdapter> op_adapters();
// By operator or oracle name; null if there is none.
const OpAdapter* find_op_adapter(std::string_view name);

// The choices that force `impl` on an adapter's operators, as far as they have it and the context's device runs it.
ImplChoices force_impl(const OpAdapter& adapter, const std::string& impl, const Context& ctx);

// Runs the adapter and checks that all inputs were there.
Status run_op(const OpAdapter& adapter, OpCall& call);

// Parts of the table, one a file.
std::vector<OpAdapter> row_adapters();
std::vector<OpAdapter> delta_adapters();
std::vector<OpAdapter> attention_adapters();
std::vector<OpAdapter> mla_adapters();
std::vector<OpAdapter> dsa_adapters();
std::vector<OpAdapter> moe_adapters();
std::vector<OpAdapter> quant_adapters();

}  // namespace sluice
