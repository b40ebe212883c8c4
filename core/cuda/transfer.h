// Pieces of large transfers on their way to a GPU.
#pragma once

#include "core/transfer.h"

namespace sluice::cuda {

// Reads pieces of at most `piece` bytes into page-locked memory of its own, by turns, and copies each from there on a stream of its
// own: while one is copied the next is read.
Result<std::unique_ptr<TransferCarrier>> make_carrier(int device, size_t piece);

}  // namespace sluice::cuda
