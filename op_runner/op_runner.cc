#include "op_runner/op_runner.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace sluice {

Tensor OpCall::find(std::string_view name) const {
  const auto it = in_.find(name);
  return it == in_.end() ? Tensor() : it->second;
}

Tensor OpCall::need(std::string_view name) {
  const Tensor t = find(name);
  if (!t.present() && status_.ok())
    status_ = invalid("input tensor 'in." + std::string(name) + "' is missing", "tensors are named as in the oracle cases");
  return t;
}

double OpCall::number(std::string_view name, double fallback) const {
  const auto* v = params_.if_contains(name);
  return v && v->is_number() ? v->to_number<double>() : fallback;
}
float OpCall::scale_for(int64_t dim) const { return float(number("scale", 1 / std::sqrt(double(dim)))); }

bool OpCall::flag(std::string_view name, bool fallback) const {
  const auto* v = params_.if_contains(name);
  return v && v->is_bool() ? v->as_bool() : fallback;
}

std::string OpCall::text(std::string_view name, std::string fallback) const {
  const auto* v = params_.if_contains(name);
  return v && v->is_string() ? std::string(v->as_string()) : fallback;
}

Tensor OpCall::make(DType dtype, std::initializer_list<int64_t> dims) {
  Tensor t(nullptr, dtype, dims);
  t.data = memory_.emplace_back(std::max<size_t>(t.bytes(), 1)).data();
  return t;
}

Tensor OpCall::ints(const std::vector<int32_t>& values) {
  const Tensor t = make(DType::kI32, {int64_t(values.size())});
  std::ranges::copy(values, t.as<int32_t>());
  return t;
}

Tensor OpCall::copy(const Tensor& t, DType dtype) {
  Tensor r = t;
  r.dtype = dtype;
  r.data = memory_.emplace_back(std::max<size_t>(size_t(t.numel()) * dtype_size(dtype), 1)).data();
  const int64_t n = t.numel();
  if (dtype == t.dtype) std::memcpy(r.data, t.data, t.bytes());
  else if (dtype == DType::kF32) std::copy_n(t.as<Bf16>(), n, r.as<float>());
  else std::transform(t.as<float>(), t.as<float>() + n, r.as<Bf16>(), [](float x) { return Bf16(x); });
  return r;
}

std::span<const OpAdapter> op_adapters() {
  static const std::vector<OpAdapter> all = [] {
    std::vector<OpAdapter> v;
    for (const auto& part :
         {row_adapters(), delta_adapters(), attention_adapters(), mla_adapters(), dsa_adapters(), moe_adapters(), quant_adapters()})
      v.insert(v.end(), part.begin(), part.end());
    return v;
  }();
  return all;
}

const OpAdapter* find_op_adapter(std::string_view name) {
  for (const auto& a : op_adapters())
    if (name == a.op) return &a;
  for (const auto& a : op_adapters())
    if (name == a.oracle) return &a;
  return nullptr;
}

ImplChoices force_impl(const OpAdapter& adapter, const std::string& impl, const Context& ctx) {
  ImplChoices forced;
  for (const OpInfo& op : all_ops()) {
    const bool called = std::strcmp(op.name, adapter.op) == 0 ||
                        std::ranges::any_of(adapter.also, [&](const char* a) { return std::strcmp(a, op.name) == 0; });
    if (!called) continue;
    for (const ImplInfo& i : op.impls)
      if (impl == i.name && i.built && machine_has(*ctx.cpu, ctx.gpu, i.isa).yes()) forced[op.name] = impl;
  }
  return forced;
}

Status run_op(const OpAdapter& adapter, OpCall& call) {
  const Status s = adapter.run(call);
  return call.status().ok() ? s : call.status();
}

}  // namespace sluice
