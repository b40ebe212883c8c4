// A call of gdn_prefill on random sequences, and holding a form to an answer.
#pragma once

#include <algorithm>
#include <numeric>
#include <optional>

#include "ops/gdn_chunk/problem_testing.h"
#include "ops/gdn_prefill/cases.h"
#include "ops/gdn_prefill/gdn_prefill.h"

namespace sluice::testing {

using GdnPrefillImpl = Impl<GdnPrefillArgs>;

inline const GdnPrefillImpl& prefill_named(const char* name) { return impl_named(gdn_prefill_impls(), name); }

inline bool on_tensor_cores(const GdnPrefillImpl& impl) { return is_gpu(impl.isa) && std::strcmp(impl.name, "portable") != 0; }

// The form whose promise on a GPU is the CPU's: the same bits however rows are cut into calls and sequences into batches.
inline bool batch_invariant(const GdnPrefillImpl& impl) {
  return !on_tensor_cores(impl) && std::strcmp(impl.name, "reference") != 0;
}

// The contract's tolerance for an output or a state.
inline Tolerance promised(const GdnPrefillImpl& impl, bool rounded_to_bf16) {
  return rounded_to_bf16 || on_tensor_cores(impl) ? kGdnBf16 : kGdnF32;
}

// Every form but the reference that this machine runs on these arguments. A bf16 pool is a GPU's alone.
inline std::vector<const GdnPrefillImpl*> prefill_forms(const GdnPrefillArgs& args) {
  std::vector<const GdnPrefillImpl*> forms = runnable(gdn_prefill_impls(), args);
  std::erase_if(forms, [&](const GdnPrefillImpl* f) {
    return std::strcmp(f->name, "reference") == 0 || (args.state.s.dtype == DType::kBF16 && !is_gpu(f->isa));
  });
  return forms;
}

inline std::vector<int64_t> cumulative(const std::vector<int64_t>& lengths) {
  std::vector<int64_t> cu{0};
  for (int64_t n : lengths) cu.push_back(cu.back() + n);
  return cu;
}

// What of a problem is not its shape.
struct GdnPrefillSetting {
  DType in = DType::kF32, out = DType::kF32, state = DType::kF32;
  int64_t R = 64;  // rows at which chunks are closed
  Temper temper = Temper::kMild;
  double state_stddev = 0.3;
  std::vector<int64_t> slots = {};  // empty: the last sequence has slot 1, the first the highest
  int64_t pool = 0;                 // slots; 0: one more than sequences. Those of no sequence are NaN
};

struct GdnPrefillAnswer {
  GdnPool pool;
  Storage o;
};

class GdnPrefillProblem {
 public:
  GdnPrefillProblem(const GdnPrefillCase& c, const GdnPrefillSetting& setting, uint64_t seed)
      : setting(setting),
        random(seed),
        d{c.HK, c.HV, c.K, c.V},
        T(std::accumulate(c.lengths.begin(), c.lengths.end(), int64_t(0))),
        slots(setting.slots.empty() ? descending(c.lengths.size()) : setting.slots),
        before(setting.pool ? setting.pool : int64_t(slots.size()) + 1, d, setting.R),
        in(T, d, setting.temper, setting.in, random),
        cu(ints(cumulative(c.lengths))),
        start(ints(c.starts)),
        ids(ints(slots)) {
    for (size_t b = 0; b < slots.size(); ++b) {
      fill_state(slots[b]);
      open_rows(c.starts[b], slots[b]);
      open.push_back((c.starts[b] + c.lengths[b]) % setting.R);
    }
  }

  GdnPrefillArgs args(const GdnPool& pool, const Tensor& o) const {
    auto a = gdn_args<GdnPrefillArgs>(in.rows(0, T, o));
    a.cu_seqlens = cu, a.start = start, a.slots = ids, a.state = pool.state();
    return a;
  }

  // The forms that can be held to an answer, each to be given to run().
  std::vector<const GdnPrefillImpl*> forms() const {
    const GdnPool pool(before, setting.state);
    const Storage o = make_output();
    return prefill_forms(args(pool, o));
  }

  GdnPrefillAnswer run(const GdnPrefillImpl& impl) const {
    GdnPrefillAnswer r{GdnPool(before, is_gpu(impl.isa) ? setting.state : DType::kF32), make_output()};
    const GdnPrefillArgs a = args(r.pool, r.o);
    if (a.state.s.dtype == DType::kF32) {
      const Status ok = check_gdn_prefill(a);
      EXPECT_TRUE(ok.ok()) << ok.to_string();
    }
    run_ok(impl, a);
    return r;
  }

  // The sequences' states after their open rows.
  Storage states(const GdnPool& pool, const char* closing = "reference") const {
    const int64_t B = int64_t(slots.size());
    const GdnPool named(B, d, setting.R, pool.s.tensor().dtype);
    for (int64_t b = 0; b < B; ++b)
      for (const auto part : {&GdnPool::s, &GdnPool::k, &GdnPool::u, &GdnPool::g}) {
        const Tensor from = (pool.*part).tensor()[slots[b]];
        std::memcpy((named.*part).tensor()[b].data, from.data, from.bytes());
      }
    std::vector<int64_t> all(B);
    std::iota(all.begin(), all.end(), 0);
    return closed_states(named, all, open, closing);
  }

  // Outputs and states within the contract's tolerance, everything else as it was.
  void expect_answer(const GdnPrefillImpl& impl, const GdnPrefillAnswer& want, std::string what) const {
    what = std::string(impl.name) + ", " + name(setting.temper) + ", K " + std::to_string(d.K) + ", V " + std::to_string(d.V) +
           ", R " + std::to_string(setting.R) + what;
    const GdnPrefillAnswer got = run(impl);
    const bool bf16_state = got.pool.s.tensor().dtype == DType::kBF16;
    expect_close(got.o, want.o, promised(impl, setting.out == DType::kBF16 || bf16_state), what + ": o");
    expect_close(states(got.pool), states(want.pool), promised(impl, bf16_state), what + ": state");
    expect_others_untouched(got.pool, what);
  }

  void expect_others_untouched(const GdnPool& got, const std::string& what) const {
    std::optional<GdnPool> rounded;
    if (got.s.tensor().dtype == DType::kBF16) rounded.emplace(before, DType::kBF16);
    const GdnPool& was = rounded ? *rounded : before;
    for (int64_t slot = 0; slot < was.s.tensor().dim(0); ++slot)
      if (std::find(slots.begin(), slots.end(), slot) == slots.end())
        expect_same_open_chunk(got, was, slot, setting.R, what + ": slot " + std::to_string(slot) + ", which was not named");
    EXPECT_TRUE(got.s.margins_intact() && got.k.margins_intact() && got.u.margins_intact() && got.g.margins_intact()) << what;
  }

  // All forms against the reference.
  void expect_forms_match(const std::string& what = "") const {
    const std::vector<const GdnPrefillImpl*> all = forms();
    if (all.empty()) return;
    const GdnPrefillAnswer want = run(prefill_named("reference"));
    for (const GdnPrefillImpl* impl : all) expect_answer(*impl, want, what);
  }

  GdnPrefillSetting setting;
  Random random;
  GdnShape d;
  int64_t T;
  std::vector<int64_t> slots, open;  // of each sequence: its slot, and its open rows after the call
  GdnPool before;                    // fp32; of a bf16 pool's values
  GdnInputs in;
  Storage cu, start, ids;

 private:
  static std::vector<int64_t> descending(size_t n) {
    std::vector<int64_t> s(n);
    std::iota(s.rbegin(), s.rend(), 1);
    return s;
  }
  Storage make_output() const { return Storage(setting.out, {T, d.HV, d.V}, d.HV * d.V + 16); }

  // From a table, at another place for every slot: there are pools of many million elements.
  void fill_state(int64_t slot) {
    constexpr size_t kTable = 65537;
    if (normals_.empty())
      std::generate_n(std::back_inserter(normals_), kTable, [&] { return float(random.normal(0, setting.state_stddev)); });
    const Tensor s = before.s.tensor()[slot];
    size_t at = size_t(slot) * 7919 % kTable;
    for (int64_t i = 0; i < s.numel(); ++i) {
      const float x = normals_[at];
      s.as<float>()[i] = setting.state == DType::kBF16 ? float(Bf16(x)) : x;
      if (++at == kTable) at = 0;
    }
  }
  std::vector<float> normals_;

  // Appends the rows that a start inside a chunk says are open, with the reference.
  void open_rows(int64_t position, int64_t slot) {
    const int64_t n = position % setting.R;
    if (n == 0) return;
    const GdnInputs rows(n, d, Temper::kMild, DType::kF32, random);
    const Storage o(DType::kF32, {n, d.HV, d.V}), cu_seqlens = ints({0, n}), first = ints({position - n}), id = ints({slot}),
                                                  has = ints({1});
    auto a = gdn_args<GdnPrefillArgs>(rows.rows(0, n, o));
    a.cu_seqlens = cu_seqlens, a.start = first, a.slots = id, a.has_state = has, a.state = before.state();
    run_ok(prefill_named("reference"), a);
  }
};

}  // namespace sluice::testing
