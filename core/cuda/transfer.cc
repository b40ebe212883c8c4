#include "core/cuda/transfer.h"

#include <array>

#include "core/buffer.h"
#include "core/cuda/status.h"

namespace sluice::cuda {
namespace {

class PinnedCarrier final : public TransferCarrier {
 public:
  ~PinnedCarrier() override {
    if (stream_) cudaStreamSynchronize(stream_), cudaStreamDestroy(stream_);
    for (const cudaEvent_t e : passed_)
      if (e) cudaEventDestroy(e);
  }

  Status open(int device, size_t piece) {
    piece_ = piece;
    SLUICE_RETURN_IF_ERROR(to_status(cudaSetDevice(device), "cudaSetDevice"));
    SLUICE_RETURN_IF_ERROR(to_status(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate"));
    for (cudaEvent_t& e : passed_)
      SLUICE_RETURN_IF_ERROR(to_status(cudaEventCreateWithFlags(&e, cudaEventDisableTiming), "cudaEventCreate"));
    void* memory = nullptr;
    SLUICE_RETURN_IF_ERROR(to_status(cudaMallocHost(&memory, kSlots * piece), "page-locked memory"));
    memory_ = Buffer::adopt(memory, kSlots * piece, [](void* data, size_t) { cudaFreeHost(data); });
    return {};
  }

  Status carry(const TransferPiece& piece) override {
    slot_ = (slot_ + 1) % kSlots;
    std::byte* const room = memory_.data() + slot_ * piece_;
    SLUICE_RETURN_IF_ERROR(to_status(cudaEventSynchronize(passed_[slot_]), "copies to the GPU"));  // at once where never recorded
    SLUICE_RETURN_IF_ERROR(piece.read(room));
    SLUICE_RETURN_IF_ERROR(
        to_status(cudaMemcpyAsync(piece.to(), room, piece.bytes, cudaMemcpyHostToDevice, stream_), "copy to the GPU"));
    return to_status(cudaEventRecord(passed_[slot_], stream_), "cudaEventRecord");
  }

  Status finish() override { return to_status(cudaStreamSynchronize(stream_), "copies to the GPU"); }

 private:
  static constexpr size_t kSlots = 2;

  size_t piece_ = 0, slot_ = 0;
  Buffer memory_;
  cudaStream_t stream_ = nullptr;
  std::array<cudaEvent_t, kSlots> passed_{};
};

}  // namespace

Result<std::unique_ptr<TransferCarrier>> make_carrier(int device, size_t piece) {
  auto carrier = std::make_unique<PinnedCarrier>();
  SLUICE_RETURN_IF_ERROR(carrier->open(device, piece));
  return std::unique_ptr<TransferCarrier>(std::move(carrier));
}

}  // namespace sluice::cuda
