#include "models/weights.h"

#include <cmath>
#include <cstring>

#include "core/memory.h"

namespace sluice {
namespace {

constexpr size_t kShownProblems = 5;

bool starts_with_any(const std::string& name, const std::vector<std::string>& prefixes) {
  for (const auto& p : prefixes)
    if (name.starts_with(p)) return true;
  return false;
}

// xorshift64*: fast enough to fill gigabytes, and nobody draws conclusions from these numbers.
struct FastRandom {
  uint64_t state;
  float uniform() {  // [-1, 1)
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return float(int32_t((state * 0x2545F4914F6CDD1Dull) >> 32)) * 0x1p-31f;
  }
};

}  // namespace

Tensor WeightSource::take(const std::string& name, std::initializer_list<int64_t> shape) {
  const Tensor wanted(nullptr, DType::kBF16, shape);
  taken_.insert(name);
  if (random()) return make_random(name, wanted);
  const Tensor* found = checkpoint_->find(name);
  if (!found) {
    problems_.push_back(name + " is missing, wanted shape " + wanted.shape_string());
    return {};
  }
  if (found->rank != wanted.rank || found->shape != wanted.shape) {
    problems_.push_back(name + " has shape " + found->shape_string() + ", wanted " + wanted.shape_string());
    return {};
  }
  if (found->dtype != DType::kF32 && found->dtype != DType::kBF16) {
    problems_.push_back(name + " is " + std::string(dtype_name(found->dtype)) + ", wanted BF16 or F32");
    return {};
  }
  bytes_ += found->bytes();
  if (found->dtype == DType::kBF16) bf16_bytes_ += found->bytes();
  return where_.device.kind == DeviceKind::kCpu ? *found : copy_to_device(name, *found);
}

Tensor WeightSource::copy_to_device(const std::string& name, const Tensor& host) {
  auto memory = allocate_memory(where_, host.bytes());
  Status copied = memory.ok() ? to_device(where_, host.data, host.bytes(), memory->data()) : memory.status();
  if (!copied.ok()) {
    problems_.push_back(name + ": " + copied.message());
    return {};
  }
  Tensor t = host;
  t.data = memory->data(), t.device = where_.device;
  made_.push_back(std::move(*memory));
  return t;
}

Tensor WeightSource::keep(const std::string& name, const std::vector<double>& values) {
  return copy_to_device(name, Tensor::of(values.data(), {int64_t(values.size())}));
}

// Uniform numbers of variance 1 / fan-in, so that activations keep their size through the layers.
Tensor WeightSource::make_random(const std::string& name, const Tensor& wanted) {
  auto buffer = Buffer::allocate(wanted.bytes());
  if (!buffer.ok()) {
    problems_.push_back(name + ": " + buffer.status().message());
    return {};
  }
  Tensor t = wanted;
  t.data = buffer->data();
  const int64_t fan_in = t.rank > 1 ? t.numel() / t.shape[0] : 100;
  const float scale = std::sqrt(3.0f / float(std::max<int64_t>(fan_in, 1)));
  FastRandom random{std::hash<std::string>{}(name) | 1};
  for (int64_t i = 0, n = t.numel(); i < n; ++i) t.as<Bf16>()[i] = Bf16(scale * random.uniform());
  bytes_ += t.bytes(), bf16_bytes_ += t.bytes();
  if (where_.device.kind != DeviceKind::kCpu) return copy_to_device(name, t);
  made_.push_back(std::move(buffer).value());
  return t;
}

Status WeightSource::finish() {
  if (!problems_.empty()) {
    std::string text = "the weights do not fit config.json: ";
    for (size_t i = 0; i < std::min(problems_.size(), kShownProblems); ++i) text += (i ? "; " : "") + problems_[i];
    if (problems_.size() > kShownProblems) text += "; and " + std::to_string(problems_.size() - kShownProblems) + " more";
    return bad_file(text, "config.json and the safetensors files must come from the same checkpoint");
  }
  SLUICE_RETURN_IF_ERROR(wait_for(where_));
  if (random()) return {};
  for (const auto& w : checkpoint_->warnings) notes_.push_back(w);
  size_t unused = 0, vision = 0;
  std::string first;
  for (const auto& name : checkpoint_->names()) {
    if (taken_.count(name)) continue;
    if (starts_with_any(name, ignored_)) {
      ++vision;
      continue;
    }
    if (unused++ == 0) first = name;
  }
  if (vision) notes_.push_back("ignored the vision tower (" + std::to_string(vision) + " tensors): text only");
  if (unused)
    notes_.push_back("ignored " + std::to_string(unused) + " tensors that this architecture does not use, the first: " + first);
  return {};
}

}  // namespace sluice
