// The convolution of a row's run in kernels, and the walk over rows of many sequences: what causal_conv1d and its fusions share, so
// that they give the same bits.
//
// Rows are split over threads wherever sequences begin. What a sequence keeps between calls (a state, or a ring of rows) is read
// for its first width - 1 rows and then overwritten. So that nobody reads what another thread has written, the thread that has a
// sequence's first row opens it: it computes all of these rows, even those that lie in the next thread's range, and then writes
// what is kept.
#pragma once

#include "core/cuda/rows.cuh"

namespace sluice::cuda {

inline constexpr int kMaxWidth = 4;  // taps; shorter filters have zeros in front

struct Taps {
  float tap[kMaxWidth][kRun];

  // Channels [c, c + n) of weight [C, width], dense. Wide: 16-byte accesses, width kMaxWidth, n is 0 or kRun.
  template <bool Wide, class W>
  __device__ void load(const W* weight, int64_t c, int n, int width) {
    if constexpr (Wide) {
#pragma unroll
      for (int part = 0; part < kMaxWidth; ++part) {  // kRun numbers are the taps of two channels
        const Run<W> run = load_run(weight + c * kMaxWidth + part * kRun, n, true);
#pragma unroll
        for (int i = 0; i < kRun; ++i) tap[i % kMaxWidth][2 * part + i / kMaxWidth] = run[i];
      }
    } else {
#pragma unroll
      for (int w = 0; w < kMaxWidth; ++w)
#pragma unroll
        for (int i = 0; i < kRun; ++i) {
          const int at = w - (kMaxWidth - width);
          tap[w][i] = at >= 0 && i < n ? to_float(weight[(c + i) * width + at]) : 0;
        }
    }
  }
};

// sum[i] += tap_0[i] x_0[i] + tap_1[i] x_1[i] + ..., oldest input first.
template <class Input>
__device__ inline void convolve(float (&sum)[kRun], const Taps& taps, const Input* oldest_first) {
#pragma unroll
  for (int w = 0; w < kMaxWidth; ++w)
#pragma unroll
    for (int i = 0; i < kRun; ++i) sum[i] = fmaf(taps.tap[w][i], oldest_first[w][i], sum[i]);
}

// The inputs that a row's taps multiply, oldest first: rows of this call, or what was kept from calls before; zeros where both are
// null. All loads are issued before the first is used. Wide: 16-byte accesses, n is 0 or kRun.
template <bool Wide, class X, class Kept>
__device__ inline void load_inputs(float (&in)[kMaxWidth][kRun], const X* const (&rows)[kMaxWidth],
                                   const Kept* const (&kept)[kMaxWidth], int64_t kept_stride, int n) {
  Run<X> row[kMaxWidth];
  Run<Kept> old[kMaxWidth];
#pragma unroll
  for (int w = 0; w < kMaxWidth; ++w) row[w] = load_run(rows[w], n, Wide);
#pragma unroll
  for (int w = 0; w < kMaxWidth; ++w) old[w] = load_run(kept[w], n, Wide, kept_stride);
#pragma unroll
  for (int w = 0; w < kMaxWidth; ++w)
#pragma unroll
    for (int i = 0; i < kRun; ++i) in[w][i] = rows[w] ? row[w][i] : old[w][i];
}

__device__ inline void silu(float (&x)[kRun]) {
  constexpr float kLog2e = 1.44269504f;
#pragma unroll
  for (int i = 0; i < kRun; ++i) x[i] *= ptx::rcp_approx(1 + ptx::exp2_approx(-kLog2e * x[i]));
}

// Rows [t - (kMaxWidth - 1), t + N - (kMaxWidth - 1)), of which `at` is row t; any rows for those before row 0.
template <class X, int N>
__device__ inline void load_window(Run<X> (&row)[N], const X* at, int64_t stride, int64_t t) {
  constexpr int kHistory = kMaxWidth - 1;
  const X* before = t >= kHistory ? at - kHistory * stride : at;
#pragma unroll
  for (int i = 0; i < kHistory; ++i, before += stride) row[i] = load_wide(before);
#pragma unroll
  for (int i = kHistory; i < N; ++i, at += stride) row[i] = load_wide(at);
}

struct Sequence {
  int index = 0, slot = -1;    // slot below 0: padding
  int number = 0;              // the call's own
  int64_t first = 0, end = 0;  // rows
};

struct SequencesView {
  const int32_t *cu_seqlens, *slots, *numbers;  // numbers: one of each sequence that the call reads too; may be null
  int count, pool_slots;

  SequencesView(const Tensor& cu_seqlens, const Tensor& slots, const Tensor& numbers, int64_t pool_slots)
      : cu_seqlens(cu_seqlens.as<int32_t>()),
        slots(slots.as<int32_t>()),
        numbers(static_cast<const int32_t*>(numbers.data)),
        count(int(slots.shape[0])),
        pool_slots(int(pool_slots)) {}

  __device__ Sequence at(int b) const {
    const int slot = slots[b];
    return {b, slot < pool_slots ? slot : -1, numbers ? numbers[b] : 0, cu_seqlens[b], cu_seqlens[b + 1]};
  }
  // The sequence that a row belongs to in a batch of one sequence, or of one row each.
  __device__ Sequence guess(int64_t row) const { return at(min(int(row), count - 1)); }
  // The guess, where it is right for all the warp; else the sequence of the row, or one that ends before it (see sequence_of).
  template <int Lanes>
  __device__ Sequence confirm(const Sequence& guess, int64_t row) const {
    if (__all_sync(0xffffffffu, guess.first <= row && (row < guess.end || guess.index == count - 1))) return guess;
    return at(sequence_of<Lanes>(cu_seqlens, count, row));
  }
  template <int Lanes>
  __device__ Sequence of(int64_t row) const {
    return confirm<Lanes>(guess(row), row);
  }
};

// From this many rows a thread on, they are asked for first of all, taps after them. With fewer, taps come first, ahead of all that
// depends on other kernels.
inline constexpr int kManyRows = kMaxWidth;
inline constexpr int kSingles = 2;  // rows a thread in batches of sequences of a row each

// Blocks of 128 threads of a multiprocessor at once, for the registers that they leave a thread: 4 leave 128, 3 leave 168. The
// inputs of eight rows, or of two sequences of a row each, take more than that in fp32.
template <class X, int Rows>
inline constexpr int kConvBlocks = sizeof(X) == 4 && (Rows == kSingles || Rows > kManyRows) ? 3 : 4;

// f<rows>() of as many rows a thread as leave the GPU full, if sequences are so long: T rows in all, B sequences.
template <class F>
auto with_rows_a_thread(int64_t T, int64_t B, F f) {
  if (T >= 2048 && T >= 8 * B) return f.template operator()<8>();
  if (T >= 64 && T >= 4 * B) return f.template operator()<4>();
  if (T >= 16) return f.template operator()<kSingles>();
  return f.template operator()<1>();
}

// Rows [begin, begin + Rows) of `total`, where each is a sequence of its own, as in decoding; false where one is not. Every thread
// of the warp takes part, or none.
//
//   op.singles(s, begin)  computes the rows and writes what their sequences keep
//   op.is_plain()         all that is read is of the input's type and in 16-byte pieces, and there are no other outputs
template <int Rows, class Op>
__device__ inline bool walk_singles(const SequencesView& sequences, int64_t begin, int64_t total, Op& op) {
  if (!op.is_plain()) return false;
  Sequence s[Rows];
  bool single = begin + Rows <= total;
#pragma unroll
  for (int i = 0; i < Rows; ++i) {
    s[i] = sequences.guess(begin + i);
    single = single && s[i].first == begin + i && s[i].end == begin + i + 1;
  }
  if (!__all_sync(0xffffffffu, single)) return false;
  op.singles(s, begin);
  return true;
}

// Rows [begin, begin + Rows) of `total`, for groups of `Lanes` threads, each with its own `begin`; every thread of the warp takes
// part, or none.
//
//   op.load_taps()
//   op.load(in, begin)   rows [begin - (kMaxWidth - 1), begin + Rows), asked for before it is known what they are; any rows for
//                        those before row 0
//   op.open(in, s)       puts what sequence s keeps in the places of the rows before its first one, which is `begin`
//   op.plain(in, begin)  computes all rows, which are of one sequence
//   op.row(t, s, mine)   computes row t of sequence s; every thread of the warp calls it, and those without a row pass mine = false
//   op.close(s)          writes what sequence s keeps, for this thread's channels
//   op.width(), op.is_plain()
template <int Lanes, int Rows, class Op>
__device__ inline void walk_rows(const SequencesView& sequences, int64_t begin, int64_t total, Op& op) {
  const Sequence guess = sequences.guess(begin);
  Sequence s;
  if (Rows >= kManyRows && op.is_plain() && __all_sync(0xffffffffu, begin + Rows <= total)) {
    typename Op::Rows in;
    op.load(in, begin);
    op.load_taps();
    s = sequences.confirm<Lanes>(guess, begin);
    const bool opens = begin == s.first, whole = s.slot >= 0 && begin + Rows <= s.end;
    if (__all_sync(0xffffffffu, whole && (opens || begin - s.first >= kMaxWidth - 1))) {
      if (opens) op.open(in, s);
      op.plain(in, begin);
      if (opens) op.close(s);
      return;
    }
  } else {
    if (Rows >= kManyRows) op.load_taps();
    s = sequences.confirm<Lanes>(guess, begin);
  }
  const int history = op.width() - 1;
#pragma unroll 1
  for (int i = 0; i < Rows + history - 1; ++i) {
    const int64_t t = begin + i;
    if (i > 0 && i < Rows && __any_sync(0xffffffffu, t >= s.end)) s = sequences.of<Lanes>(t);
    const int64_t before = t - s.first;
    const bool opened_here = s.first >= begin && s.first < begin + Rows, in_sequence = before >= 0 && t < s.end;
    const bool mine = in_sequence && (i < Rows ? opened_here || before >= history : opened_here && before < history);
    if (i >= Rows && !__any_sync(0xffffffffu, mine)) return;
    op.row(t, s, mine);
    if (mine && s.slot >= 0 && before + 1 == min(s.end - s.first, int64_t(history))) op.close(s);
  }
}

}  // namespace sluice::cuda
