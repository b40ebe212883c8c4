// The gated delta rule as written, in fp64, on the open chunk's memory.
#pragma once

#include <vector>

#include "ops/gdn_chunk/gdn_chunk.h"

namespace sluice::gdn {

// e^{G_n-1} S + sum_j e^{G_n-1 - G_j} k_j u_j^T: the state [K][V] of one value head after its n open rows.
std::vector<double> current_state(const GdnState& state, int64_t slot, int64_t head, int64_t n);

// Row [row, head] of a [T, H, D] tensor, divided by its norm if asked.
std::vector<double> read_row(const Tensor& t, int64_t row, int64_t head, bool normalise, double eps);
void write_row(const Tensor& t, int64_t row, int64_t head, const std::vector<double>& x);

// x^T k for x [K][V].
std::vector<double> transposed_times(const std::vector<double>& x, const std::vector<double>& k, int64_t V);

}  // namespace sluice::gdn
