#include "ops/gdn_chunk/reference.h"

#include <cmath>

#include "core/rows.h"
#include "ops/gdn_chunk/forms.h"

namespace sluice::gdn {
namespace {

// One value head's memory in its slot.
struct Head {
  float *s, *k, *u, *g;
  int64_t K, V, R;
};

Head head_of(const GdnState& st, int64_t slot, int64_t head) {
  const int64_t group = st.s.dim(1) / st.k.dim(1);
  return {.s = st.s[slot][head].as<float>(),
          .k = st.k[slot][head / group].as<float>(),
          .u = st.u[slot][head].as<float>(),
          .g = st.g[slot].as<float>() + head * st.g.dim(2),
          .K = st.s.dim(2),
          .V = st.s.dim(3),
          .R = st.g.dim(2)};
}

std::vector<double> current_state(const Head& h, int64_t n) {
  std::vector<double> x(h.K * h.V);
  const double last = n ? h.g[n - 1] : 0;
  for (int64_t i = 0; i < h.K * h.V; ++i) x[i] = std::exp(last) * h.s[i];
  for (int64_t j = 0; j < n; ++j) {
    const double decay = std::exp(last - h.g[j]);
    for (int64_t d = 0; d < h.K; ++d)
      for (int64_t e = 0; e < h.V; ++e) x[d * h.V + e] += decay * h.k[d * h.R + j] * h.u[j * h.V + e];
  }
  return x;
}

}  // namespace

std::vector<double> read_row(const Tensor& t, int64_t row, int64_t head, bool normalise, double eps) {
  std::vector<double> x(t.dim(2));
  double sum = 0;
  visit_float(t, [&]<class X>(X*) {
    const X* p = Rows(t).row<X>(row * t.dim(1) + head);
    for (size_t d = 0; d < x.size(); ++d) x[d] = float(p[d]), sum += x[d] * x[d];
  });
  if (normalise)
    for (double& v : x) v /= std::sqrt(sum + eps);
  return x;
}

void write_row(const Tensor& t, int64_t row, int64_t head, const std::vector<double>& x) {
  visit_float(t, [&]<class X>(X*) {
    X* p = Rows(t).row<X>(row * t.dim(1) + head);
    for (size_t d = 0; d < x.size(); ++d) p[d] = X(float(x[d]));
  });
}

std::vector<double> transposed_times(const std::vector<double>& x, const std::vector<double>& k, int64_t V) {
  std::vector<double> y(V, 0.0);
  for (size_t d = 0; d < k.size(); ++d)
    for (int64_t e = 0; e < V; ++e) y[e] += x[d * V + e] * k[d];
  return y;
}

namespace {

// One sequence's rows [begin, end) of the call, before which it has `start` tokens.
struct Sequence {
  int64_t index, begin, end, start;
};

void copy_checkpoint(const Checkpoints& c, const Sequence& sequence, int64_t position, int64_t head, const std::vector<double>& x) {
  if (c.every == 0 || position % c.every != 0) return;
  const int64_t index = c.cu.as<int32_t>()[sequence.index] + position / c.every - sequence.start / c.every - 1;
  float* to = c.s[index][head].as<float>();
  for (size_t i = 0; i < x.size(); ++i) to[i] = float(x[i]);
}

// The rows of one value head, whose state before them is x.
void append_head(const GdnArgs& a, Closing closing, const Checkpoints& checkpoints, const Head& h, std::vector<double> x,
                 int64_t head, const Sequence& sequence) {
  const int64_t key_head = head / (a.v.dim(1) / a.k.dim(1));
  for (int64_t t = sequence.begin, n = sequence.start % h.R; t < sequence.end; ++t) {
    const std::vector<double> k = read_row(a.k, t, key_head, a.qk_l2norm, a.l2_eps),
                              q = read_row(a.q, t, key_head, a.qk_l2norm, a.l2_eps);
    std::vector<double> u = read_row(a.v, t, head, false, 0);
    const float log_g = a.log_g[t].as<float>()[head];
    const double beta = a.beta[t].as<float>()[head];
    for (double& e : x) e *= std::exp(double(log_g));
    const std::vector<double> known = transposed_times(x, k, h.V);
    for (int64_t e = 0; e < h.V; ++e) u[e] = beta * (u[e] - known[e]);
    for (int64_t d = 0; d < h.K; ++d)
      for (int64_t e = 0; e < h.V; ++e) x[d * h.V + e] += k[d] * u[e];
    std::vector<double> o = transposed_times(x, q, h.V);
    for (double& e : o) e *= a.scale;
    write_row(a.o, t, head, o);

    for (int64_t d = 0; d < h.K; ++d) h.k[d * h.R + n] = float(k[d]);
    for (int64_t e = 0; e < h.V; ++e) h.u[n * h.V + e] = float(u[e]);
    h.g[n] = log_g + (n ? h.g[n - 1] : 0.0f);
    if (++n == h.R && closing == Closing::kWhenFull) {
      for (size_t i = 0; i < x.size(); ++i) h.s[i] = float(x[i]);
      n = 0;
      copy_checkpoint(checkpoints, sequence, sequence.start + t + 1 - sequence.begin, head, x);
    }
  }
}

}  // namespace

std::vector<double> current_state(const GdnState& state, int64_t slot, int64_t head, int64_t n) {
  return current_state(head_of(state, slot, head), n);
}

Status append_reference(const GdnArgs& a, Closing closing, const Checkpoints& checkpoints) {
  const int64_t HV = a.v.dim(1);
  for (int64_t b = 0; b < a.slots.dim(0); ++b) {
    int64_t begin = b, end = b + 1;
    if (a.cu_seqlens.present()) begin = a.cu_seqlens.as<int32_t>()[b], end = a.cu_seqlens.as<int32_t>()[b + 1];
    const int64_t slot = a.slots.as<int32_t>()[b], start = a.start.as<int32_t>()[b], first = start % a.state.g.dim(2);
    if (slot < 0) {
      for (int64_t t = begin; t < end; ++t)
        for (int64_t head = 0; head < HV; ++head) write_row(a.o, t, head, std::vector<double>(a.v.dim(2), 0.0));
      continue;
    }
    const bool fresh = a.has_state.present() ? a.has_state.as<int32_t>()[b] == 0 : start == 0;
    // All states before any row is written: the value heads of one key head share its key rows.
    std::vector<std::vector<double>> states;
    for (int64_t head = 0; head < HV; ++head) {
      const Head h = head_of(a.state, slot, head);
      if (fresh) std::fill_n(h.s, h.K * h.V, 0.0f);
      states.push_back(current_state(h, first));
    }
    for (int64_t head = 0; head < HV; ++head)
      append_head(a, closing, checkpoints, head_of(a.state, slot, head), std::move(states[head]), head, {b, begin, end, start});
  }
  return {};
}

}  // namespace sluice::gdn
