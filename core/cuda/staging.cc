#include "core/cuda/staging.h"

#include <algorithm>
#include <cstring>

#include "core/cuda/memory.h"
#include "core/cuda/status.h"

namespace sluice::cuda {
namespace {

constexpr size_t kMargin = 1024;    // bytes before and behind a twin
constexpr size_t kAlignment = 64;   // a twin keeps its host's address modulo this
constexpr std::byte kPoison{0xff};  // NaN in every float type, -1 in integers

std::byte* bytes_of(const Tensor& t) { return static_cast<std::byte*>(t.data); }

// Copies every element of `from` to the same place of `to`; shapes and types are equal.
void copy_elements(const Tensor& from, const Tensor& to) {
  if (from.rank == 1) {
    const size_t size = dtype_size(from.dtype);
    for (int64_t i = 0; i < from.shape[0]; ++i)
      std::memcpy(bytes_of(to) + i * to.stride[0] * int64_t(size), bytes_of(from) + i * from.stride[0] * int64_t(size), size);
    return;
  }
  for (int64_t i = 0; i < from.shape[0]; ++i) copy_elements(from[i], to[i]);
}

Tensor swapped(const Tensor& t) { return t.laid_out(GpuLayout::kSwapLastTwo); }

}  // namespace

void Staging::add(Tensor& tensor, GpuLayout layout) {
  if (tensor.present()) entries_.push_back({&tensor, tensor, layout});
}

void Staging::join_overlapping() {
  std::vector<Entry*> sorted;
  for (Entry& e : entries_)
    if (e.layout == GpuLayout::kAsIs) sorted.push_back(&e);
  std::sort(sorted.begin(), sorted.end(), [](const Entry* a, const Entry* b) { return bytes_of(a->host) < bytes_of(b->host); });
  for (Entry* e : sorted) {
    std::byte *begin = bytes_of(e->host), *end = begin + e->host.span_bytes();
    if (blocks_.empty() || begin >= blocks_.back().end || begin == end) blocks_.push_back({.begin = begin, .end = end});
    else blocks_.back().end = std::max(blocks_.back().end, end);
    e->block = blocks_.size() - 1;
  }
}

void Staging::lay_out_swapped(Entry& e) {
  Block b;
  b.image.assign(e.host.span_bytes(), kPoison);
  Tensor image = swapped(e.host);
  image.data = b.image.data();
  if (e.host.numel() > 0) copy_elements(e.host, image);
  b.begin = b.image.data(), b.end = b.begin + b.image.size();
  e.block = blocks_.size();
  blocks_.push_back(std::move(b));
}

Status Staging::upload_block(Block& b) {
  std::vector<std::byte> whole(b.bytes() + 2 * kMargin + kAlignment, kPoison);
  SLUICE_ASSIGN_OR_RETURN(b.memory, allocate(whole.size()));
  b.shift = kMargin + (b.image.empty() ? reinterpret_cast<uintptr_t>(b.begin) % kAlignment : 0);
  if (b.bytes() > 0) std::memcpy(whole.data() + b.shift, b.begin, b.bytes());
  return to_status(cudaMemcpy(b.memory.data(), whole.data(), whole.size(), cudaMemcpyHostToDevice), "copy to the GPU");
}

Status Staging::upload() {
  join_overlapping();
  for (Entry& e : entries_)
    if (e.layout == GpuLayout::kSwapLastTwo) lay_out_swapped(e);
  for (Block& b : blocks_) SLUICE_RETURN_IF_ERROR(upload_block(b));
  SLUICE_RETURN_IF_ERROR(
      to_status(cudaDeviceSynchronize(), "copy to the GPU"));  // the context's stream does not wait for these copies
  for (Entry& e : entries_) {
    const Block& b = blocks_[e.block];
    Tensor& t = *e.tensor;
    t.device = device_;
    if (e.layout == GpuLayout::kSwapLastTwo) t.stride = swapped(t).stride, t.data = b.twin();
    else t.data = b.twin() + (bytes_of(e.host) - b.begin);
  }
  return {};
}

Status Staging::download_block(Block& b, std::vector<std::byte>& contents) {
  std::vector<std::byte> whole(b.memory.size());
  SLUICE_RETURN_IF_ERROR(
      to_status(cudaMemcpy(whole.data(), b.memory.data(), whole.size(), cudaMemcpyDeviceToHost), "copy from the GPU"));
  const auto first = whole.begin() + std::ptrdiff_t(b.shift), last = first + std::ptrdiff_t(b.bytes());
  const auto poisoned = [](std::byte x) { return x == kPoison; };
  if (!std::all_of(whole.begin(), first, poisoned) || !std::all_of(last, whole.end(), poisoned))
    return {Code::kDevice, "a kernel wrote outside the tensors it was given"};
  contents.assign(first, last);
  return {};
}

Status Staging::download() {
  SLUICE_RETURN_IF_ERROR(to_status(cudaDeviceSynchronize(), "a kernel"));
  std::vector<std::byte> contents;
  for (Block& b : blocks_) {
    SLUICE_RETURN_IF_ERROR(download_block(b, contents));
    // Inputs may be read-only on the host, so only what changed is written.
    if (b.bytes() > 0 && std::memcmp(contents.data(), b.begin, b.bytes()) != 0) std::memcpy(b.begin, contents.data(), b.bytes());
  }
  for (const Entry& e : entries_) {
    if (e.layout != GpuLayout::kSwapLastTwo || e.host.numel() == 0) continue;
    Tensor image = swapped(e.host);
    image.data = blocks_[e.block].image.data();
    copy_elements(image, e.host);
  }
  return {};
}

}  // namespace sluice::cuda
