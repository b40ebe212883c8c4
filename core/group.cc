#include "core/group.h"

#include <algorithm>

#include "base/archive.h"
#if SLUICE_HAS_CUDA
#include "core/cuda/group.h"
#endif

namespace sluice {

Status Ranks::agree(const Status& mine) {
  std::vector<int> codes(size_t(size()), 0);
  const int code = int(mine.code());
  SLUICE_RETURN_IF_ERROR(gather(&code, sizeof code, codes.data()));
  const auto failed = std::ranges::find_if(codes, [](int c) { return Code(c) != Code::kOk; });
  if (failed == codes.end()) return {};
  // Its texts, in two rounds: lengths differ.
  Packer pack;
  pack(mine.message()), pack(mine.hint());
  std::vector<std::byte> text = pack.take();
  const size_t length = text.size(), first = size_t(failed - codes.begin());
  std::vector<size_t> lengths(codes.size());
  SLUICE_RETURN_IF_ERROR(gather(&length, sizeof length, lengths.data()));
  const size_t room = *std::ranges::max_element(lengths);
  text.resize(room);
  std::vector<std::byte> texts(room * codes.size());
  SLUICE_RETURN_IF_ERROR(gather(text.data(), room, texts.data()));
  std::string message, hint;
  Unpacker unpack({texts.data() + first * room, lengths[first]});
  unpack(message), unpack(hint);
  SLUICE_RETURN_IF_ERROR(unpack.finish());
  return Status(Code(*failed), first == 0 ? message : "rank " + std::to_string(first) + ": " + message, hint);
}

Result<int64_t> Ranks::least(int64_t mine) {
  std::vector<int64_t> all(size_t(size()), 0);
  SLUICE_RETURN_IF_ERROR(gather(&mine, sizeof mine, all.data()));
  return *std::ranges::min_element(all);
}

namespace {

// Tensors of the CPU's memory, by the ranks' own messages.
class HostGroup final : public Group {
 public:
  explicit HostGroup(Ranks& ranks) : Group(ranks) {}

  Status sum(Context&, const Tensor& x) override {
    all_.resize(x.bytes() * size_t(size()));
    SLUICE_RETURN_IF_ERROR(ranks_.gather(x.data, x.bytes(), all_.data()));
    if (x.dtype == DType::kF32) add<float>(x);
    else if (x.dtype == DType::kBF16) add<Bf16>(x);
    else return {Code::kUnsupported, "a sum over ranks of " + std::string(dtype_name(x.dtype))};
    return {};
  }

  Status gather(Context&, const Tensor& part, const Tensor& all) override {
    return ranks_.gather(part.data, part.bytes(), all.data);
  }

  Status broadcast(Context&, const Tensor& x) override {
    auto* data = static_cast<std::byte*>(x.data);
    std::vector<std::byte> bytes(data, data + x.bytes());
    SLUICE_RETURN_IF_ERROR(ranks_.broadcast(bytes));
    if (bytes.size() != x.bytes()) return {Code::kDevice, "ranks broadcast tensors of different sizes"};
    std::ranges::copy(bytes, data);
    return {};
  }

 private:
  template <class T>
  void add(const Tensor& x) const {
    const T* all = reinterpret_cast<const T*>(all_.data());
    for (int64_t i = 0, n = x.numel(); i < n; ++i) {
      float total = float(all[i]);
      for (int r = 1; r < size(); ++r) total += float(all[r * n + i]);
      x.as<T>()[i] = T(total);
    }
  }
  std::vector<std::byte> all_;
};

}  // namespace

Result<std::unique_ptr<Group>> make_group(Ranks& ranks, [[maybe_unused]] Context& ctx) {
#if SLUICE_HAS_CUDA
  if (ctx.device.kind == DeviceKind::kCuda) return cuda::make_group(ranks, ctx);
#endif
  return std::unique_ptr<Group>(std::make_unique<HostGroup>(ranks));
}

}  // namespace sluice
