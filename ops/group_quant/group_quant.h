// group_quant: rows in eight bits, every group of neighbouring elements with a scale of its own (DeepSeek-V3 Technical Report,
// 2024, section 3.3; in SGLang per_token_group_quant_8bit).
//
//   v = x                             or, of rows x = [gate | up], silu(gate) * up rounded to x's type
//   scale = max(max |v|, eps) / most  over a group; most = 448 for e4m3, 127 for int8
//   scale = 2^ceil(log2(scale))       with ue8m0
//   q = v / scale                     to the nearest, in the middle to the even one
//
// v is divided by the scale that is stored, so q * scale stands for v. An infinity makes its group's scale infinite, a NaN makes it
// NaN, in one byte 255 both; int8 has 0 for a NaN.
//
// Tolerance: scales 2.4e-7 relative, powers of two exact; codes one step apart in at most 0.5 % of the elements. Without silu_mul
// all forms give the same bits. With it a form's exponential may round v the other way: one last place of x's type.
#pragma once

#include <span>

#include "core/check.h"
#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

// A row's elements in groups: what quantising operators write.
struct QuantisedGroups {
  Tensor q;         // [T, H] or [E, T, H], f8 e4m3 or i8, stride free but in the last dimension
  Tensor scale;     // [T, N] or [E, T, N] f32, N = H / group; or, four exponents of ue8m0 to a word, the first in the lowest byte,
                    // [T, ceil(N / 4)] or [E, T, ceil(N / 4)] i32, its bytes behind the last group 0. All strides free
  int group = 128;  // 16, 32, 64 or 128 elements; H is a multiple
  float eps = 1e-10f;  // at least 1e-20; DeepSeek's own code has 1e-4
  bool ue8m0 = false;  // powers of two
};

struct GroupQuantArgs {
  Tensor x;         // [T, H] or [E, T, H], f32, f16 or bf16, stride free but in the last dimension; 2 H with silu_mul
  Tensor masked_m;  // [E] i32, may be absent: only rows below masked_m[e] of expert e are read and written, at most all T
  QuantisedGroups out;
  bool silu_mul = false;
};

// How kernels that multiply want scales to lie. Strides say it all; this makes them.
enum class ScaleLayout : unsigned char {
  kRowMajor,         // f32
  kColumnMajor,      // f32, a group's scales of neighbouring tokens side by side
  kColumnMajorTma,   // the same, a column's length a multiple of 16 bytes: four tokens (DeepGEMM on sm_90)
  kPackedColumnTma,  // i32 words of ue8m0, columns as before (DeepGEMM on sm_100)
};
// The scales of `q` in memory of scale_elements() elements. What lies between the last token and a column's end is not written.
Tensor scale_tensor(void* data, ScaleLayout layout, const Tensor& q, int group);
int64_t scale_elements(ScaleLayout layout, const Tensor& q, int group);

template <class F>
void each_tensor(GroupQuantArgs& args, F&& f) {
  f(args.x), f(args.masked_m), f(args.out.q), f(args.out.scale);
}

// Of the output of an operator whose rows are `like`'s but of `length` elements.
void check_quantised_groups(ArgCheck& c, const QuantisedGroups& out, const Tensor& like, int64_t length);

Status check_group_quant(const GroupQuantArgs& args);
std::span<const Impl<GroupQuantArgs>> group_quant_impls();
Status group_quant(Context& ctx, const GroupQuantArgs& args);

}  // namespace sluice
