#include "models/weights.h"

#include <cmath>
#include <cstdio>

#include "core/memory.h"

namespace sluice {
namespace {

constexpr size_t kShownProblems = 5;

std::string fixed(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", x);
  return text;
}

bool starts_with_any(const std::string& name, const std::vector<std::string>& prefixes) {
  for (const auto& p : prefixes)
    if (name.starts_with(p)) return true;
  return false;
}

}  // namespace

// What a name stands for, checked, where it lies; of random weights the wanted shape without memory.
Tensor WeightSource::find(const std::string& name, std::initializer_list<int64_t> shape) {
  const Tensor wanted(nullptr, DType::kBF16, shape);
  taken_.insert(name);
  const Tensor* found = random() ? &wanted : checkpoint_->find(name);
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
  return *found;
}

// Whether weights are used where the checkpoint is mapped.
bool WeightSource::in_place() const { return !random() && where_.device.kind == DeviceKind::kCpu; }

// Memory for `bytes` bytes of weights, owned by this; null on failure. When there is none left, the rest is only counted.
std::byte* WeightSource::place_for(const std::string& name, size_t bytes) {
  if (room_) return nullptr;
  auto memory = allocate_memory(where_, bytes);
  if (memory.ok()) return made_.emplace_back(std::move(*memory)).data();
  if (memory.status().code() != Code::kResourceExhausted) problems_.push_back(name + ": " + memory.status().message());
  room_ = memory_left(where_);
  for (const Buffer& b : made_) *room_ += b.size();
  return nullptr;
}

// `found` at `place`.
Tensor WeightSource::put(const std::string& name, const Tensor& found, std::byte* place) {
  if (!place) return {};
  Tensor t = found;
  t.data = place, t.device = where_.device;
  if (!found.data) {
    if (const Status made = make_random(name, t); !made.ok()) problems_.push_back(name + ": " + made.message());
    return t;
  }
  transfers_.push_back({found.bytes(), place,
                        [from = static_cast<const std::byte*>(found.data), file = checkpoint_.get()](
                            size_t offset, size_t bytes, std::byte* into) { return file->read(from + offset, bytes, into); }});
  return t;
}

Tensor WeightSource::take(const std::string& name, std::initializer_list<int64_t> shape) {
  const Tensor found = find(name, shape);
  if (!found.present() || in_place()) return found;
  return put(name, found, place_for(name, found.bytes()));
}

Projection WeightSource::take_together(std::initializer_list<NamedShape> wanted) {
  Projection p;
  size_t bytes = 0;
  int64_t rows = 0;
  bool alike = true;
  for (const NamedShape& w : wanted) {
    p.parts.push_back(find(w.name, {w.rows, w.columns}));
    const Tensor& t = p.parts.back();
    alike = alike && t.present() && t.dtype == p.parts.front().dtype && w.columns == wanted.begin()->columns;
    bytes += t.bytes(), rows += w.rows;
  }
  if (in_place()) return p;
  std::byte* place = alike ? place_for(wanted.begin()->name, bytes) : nullptr;
  if (place) p.whole = Tensor(place, p.parts.front().dtype, {rows, wanted.begin()->columns}, where_.device);
  auto w = wanted.begin();
  for (Tensor& t : p.parts) {
    const size_t size = t.bytes();
    if (t.present()) t = put(w->name, t, place ? place : place_for(w->name, size));
    if (place) place += size;
    ++w;
  }
  return p;
}

Tensor WeightSource::keep(const std::string& name, const std::vector<double>& values) {
  const Tensor host = Tensor::of(values.data(), {int64_t(values.size())});
  Tensor t = host;
  t.data = place_for(name, host.bytes()), t.device = where_.device;
  if (!t.data) return {};
  if (const Status done = to_device(where_, values.data(), host.bytes(), t.data); !done.ok())
    problems_.push_back(name + ": " + done.message());
  return t;
}

// Uniform numbers of variance 1 / fan-in, so that activations keep their size through the layers.
Status WeightSource::make_random(const std::string& name, const Tensor& t) {
  const int64_t fan_in = t.rank > 1 ? t.numel() / t.shape[0] : 100;
  return fill_random(where_, t, std::sqrt(3.0f / float(std::max<int64_t>(fan_in, 1))), std::hash<std::string>{}(name));
}

Status WeightSource::bring_transfers() {
  const std::vector<Transfer> transfers = std::exchange(transfers_, {});
  if (transfers.empty()) return wait_for(where_);
  size_t all = 0;
  for (const Transfer& t : transfers) all += t.bytes;
  if (show_) show_(0, all);
  return to_device(where_, transfers, [&](size_t done) {
    if (show_) show_(done, all);
  });
}

Status WeightSource::no_room() const {
  constexpr double kGB = 1e9;
  return {Code::kResourceExhausted,
          fixed(double(bytes_) / kGB) + " GB of weights do not fit in the " + fixed(double(*room_) / kGB) +
              " GB that the device has left",
          "use a device with more memory, or --device cpu"};
}

Status WeightSource::finish() {
  if (!problems_.empty()) {
    std::string text = "the weights do not fit config.json: ";
    for (size_t i = 0; i < std::min(problems_.size(), kShownProblems); ++i) text += (i ? "; " : "") + problems_[i];
    if (problems_.size() > kShownProblems) text += "; and " + std::to_string(problems_.size() - kShownProblems) + " more";
    return bad_file(text, "config.json and the safetensors files must come from the same checkpoint");
  }
  if (room_) return no_room();
  SLUICE_RETURN_IF_ERROR(bring_transfers());
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
