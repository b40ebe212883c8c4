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

}  // namespace

Share share_of(const Group* group, int64_t units) {
  if (!group) return {0, units};
  return {group->rank() * units / group->size(), std::max<int64_t>(1, units / group->size())};
}

// What a name stands for, checked, where it lies; of random weights the wanted shape without memory. In a group this rank's part.
Tensor WeightSource::find(const std::string& name, std::initializer_list<int64_t> shape, const Cut& cut) {
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
  const Tensor part = part_of(name, *found, cut);
  bytes_ += part.bytes();
  if (part.dtype == DType::kBF16) bf16_bytes_ += part.bytes();
  return part;
}

// A part that is one run of rows stays where it is, and where weights are used in place also one of columns; others are put
// together.
Tensor WeightSource::part_of(const std::string& name, const Tensor& whole, const Cut& cut) {
  if (!group_) return whole;
  Tensor across = whole;
  if (cut.columns.units > 0) {
    const auto [begin, count] = share_of(group_, cut.columns.units);
    across = whole.slice(whole.rank - 1, begin * cut.columns.size, (begin + count) * cut.columns.size);
  }
  std::vector<Tensor> blocks;
  int64_t row = 0;
  for (const Cut::Block& b : cut.rows) {
    const auto [begin, count] = share_of(group_, b.units);
    blocks.push_back(across.slice(0, row + begin * b.size, row + (begin + count) * b.size));
    row += b.units * b.size;
  }
  if (blocks.empty()) blocks = {across};
  if (blocks.size() == 1 && !random() && (in_place() || blocks[0].contiguous())) return blocks[0];
  return packed(name, blocks);
}

// Blocks of rows behind one another, in the host's memory; of random weights without memory.
Tensor WeightSource::packed(const std::string& name, const std::vector<Tensor>& blocks) {
  Tensor t = blocks[0];
  t.data = nullptr, t.shape[0] = 0;
  for (const Tensor& b : blocks) t.shape[0] += b.shape[0];
  int64_t step = 1;
  for (int d = t.rank - 1; d >= 0; --d) t.stride[d] = step, step *= t.shape[d];
  if (random()) return t;
  auto memory = Buffer::allocate(t.bytes());
  if (!memory.ok()) {
    problems_.push_back(name + ": " + memory.status().message());
    return {};
  }
  t.data = memory->data();
  std::byte* to = memory->data();
  const size_t row = t.bytes() / size_t(std::max<int64_t>(t.shape[0], 1));
  for (const Tensor& b : blocks)
    for (int64_t r = 0; r < b.shape[0]; ++r, to += row) std::memcpy(to, b.slice(0, r, r + 1).data, row);
  (in_place() ? made_ : packed_).push_back(std::move(*memory));
  return t;
}

// Whether weights are used where the checkpoint is mapped.
bool WeightSource::in_place() const { return !random() && where_.device.kind == DeviceKind::kCpu; }

// Memory for `bytes` bytes of weights, owned by this; null on failure.
std::byte* WeightSource::place_for(const std::string& name, size_t bytes) {
  auto memory = allocate_memory(where_, bytes);
  if (!memory.ok()) {
    problems_.push_back(name + ": " + memory.status().message());
    return nullptr;
  }
  return made_.emplace_back(std::move(*memory)).data();
}

// `found` at `place`.
Tensor WeightSource::put(const std::string& name, const Tensor& found, std::byte* place) {
  if (!place) return {};
  Tensor t = found;
  t.data = place, t.device = where_.device;
  const Status done = found.data ? to_device(where_, found.data, found.bytes(), place) : make_random(name, t);
  if (!done.ok()) problems_.push_back(name + ": " + done.message());
  return t;
}

Tensor WeightSource::take(const std::string& name, std::initializer_list<int64_t> shape, const Cut& cut) {
  const Tensor found = find(name, shape, cut);
  if (!found.present() || in_place()) return found;
  const Tensor there = put(name, found, place_for(name, found.bytes()));
  packed_.clear();
  return there;
}

Projection WeightSource::take_together(std::initializer_list<NamedShape> wanted) {
  Projection p;
  size_t bytes = 0;
  int64_t rows = 0;
  bool alike = true;
  for (const NamedShape& w : wanted) {
    p.parts.push_back(find(w.name, {w.rows, w.columns}, w.cut));
    const Tensor& t = p.parts.back();
    alike = alike && t.present() && t.dtype == p.parts.front().dtype && w.columns == wanted.begin()->columns;
    bytes += t.bytes(), rows += t.dim(0);
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
  packed_.clear();
  return p;
}

Tensor WeightSource::keep(const std::string& name, const std::vector<double>& values) {
  const Tensor host = Tensor::of(values.data(), {int64_t(values.size())});
  return put(name, host, place_for(name, host.bytes()));
}

// Uniform numbers of variance 1 / fan-in, so that activations keep their size through the layers.
Status WeightSource::make_random(const std::string& name, const Tensor& t) {
  const int64_t fan_in = t.rank > 1 ? t.numel() / t.shape[0] : 100;
  return fill_random(where_, t, std::sqrt(3.0f / float(std::max<int64_t>(fan_in, 1))), std::hash<std::string>{}(name));
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
