#include "models/weights.h"

#include <cmath>
#include <cstdio>
#include <cstring>

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

// Rows are one run where they lie behind one another.
size_t run_of(const Tensor& block) { return block.contiguous() ? block.bytes() : block.bytes() / size_t(block.dim(0)); }

// A stretch of what blocks of rows are behind one another.
Status read_blocks(const Checkpoint& file, std::span<const Tensor> blocks, size_t offset, size_t bytes, std::byte* into) {
  for (const Tensor& b : blocks) {
    const size_t run = run_of(b), pitch = b.contiguous() ? run : size_t(b.stride[0]) * dtype_size(b.dtype);
    for (; offset < b.bytes() && bytes > 0;) {
      const size_t within = offset % run, count = std::min(run - within, bytes);
      SLUICE_RETURN_IF_ERROR(file.read(static_cast<const std::byte*>(b.data) + offset / run * pitch + within, count, into));
      offset += count, into += count, bytes -= count;
    }
    offset -= b.bytes();
  }
  return {};
}

}  // namespace

Share share_of(const Group* group, int64_t units) {
  if (!group) return {0, units};
  return {group->rank() * units / group->size(), std::max<int64_t>(1, units / group->size())};
}

// What a name stands for, checked, where it lies, or this rank's part of it.
WeightSource::Part WeightSource::find(const std::string& name, std::initializer_list<int64_t> shape, const Cut& cut) {
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
  const Part part = part_of(*found, cut);
  bytes_ += part.tensor.bytes();
  if (found->dtype == DType::kBF16) bf16_bytes_ += part.tensor.bytes();
  return part;
}

WeightSource::Part WeightSource::part_of(const Tensor& whole, const Cut& cut) const {
  Part part{.tensor = whole, .blocks = {}};
  Tensor& t = part.tensor;
  const int last = whole.rank - 1;
  Share columns{0, whole.shape[last]};
  if (group_ && cut.columns.units > 0) {
    const auto [begin, count] = share_of(group_, cut.columns.units);
    columns = {begin * cut.columns.size, count * cut.columns.size};
  }
  std::vector<Share> rows;
  int64_t row = 0;
  if (group_)
    for (const Cut::Block& b : cut.rows) {
      const auto [begin, count] = share_of(group_, b.units);
      rows.push_back({row + begin * b.size, count * b.size});
      row += b.units * b.size;
    }
  if (rows.empty()) rows = {{0, whole.shape[0]}};
  t.data = nullptr, t.shape[last] = columns.count;
  t.shape[0] = 0;
  for (const Share& r : rows) t.shape[0] += r.count;
  int64_t step = 1;
  for (int d = last; d >= 0; --d) t.stride[d] = step, step *= t.shape[d];
  if (random()) return part;
  for (const Share& r : rows) {
    const Tensor across = last > 0 ? whole.slice(last, columns.begin, columns.begin + columns.count) : whole;
    part.blocks.push_back(across.slice(0, r.begin, r.begin + r.count));
  }
  return part;
}

// One block is used where it lies, several are put together.
Tensor WeightSource::used_in_place(const std::string& name, const Part& part) {
  if (part.blocks.size() == 1) return part.blocks[0];
  if (part.blocks.empty()) return {};
  auto memory = Buffer::allocate(part.tensor.bytes());
  Status done = memory.status();
  if (done.ok()) done = read_blocks(*checkpoint_, part.blocks, 0, memory->size(), memory->data());
  if (!done.ok()) {
    problems_.push_back(name + ": " + done.message());
    return {};
  }
  Tensor t = part.tensor;
  t.data = made_.emplace_back(std::move(*memory)).data();
  return t;
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

// A part at `place`.
Tensor WeightSource::put(const std::string& name, const Part& part, std::byte* place) {
  if (!place) return {};
  Tensor t = part.tensor;
  t.data = place, t.device = where_.device;
  if (random()) {
    if (const Status made = make_random(name, t); !made.ok()) problems_.push_back(name + ": " + made.message());
    return t;
  }
  transfers_.push_back(
      {t.bytes(), place, [blocks = part.blocks, file = checkpoint_.get()](size_t offset, size_t bytes, std::byte* into) {
         return read_blocks(*file, blocks, offset, bytes, into);
       }});
  return t;
}

Tensor WeightSource::take(const std::string& name, std::initializer_list<int64_t> shape, const Cut& cut) {
  const Part part = find(name, shape, cut);
  if (in_place()) return used_in_place(name, part);
  return part.tensor.present() ? put(name, part, place_for(name, part.tensor.bytes())) : Tensor();
}

Projection WeightSource::take_together(std::initializer_list<NamedShape> wanted) {
  Projection p;
  std::vector<Part> parts;
  size_t bytes = 0;
  int64_t rows = 0;
  bool alike = true;
  for (const NamedShape& w : wanted) {
    parts.push_back(find(w.name, {w.rows, w.columns}, w.cut));
    const Tensor& t = parts.back().tensor;
    alike = alike && t.present() && t.dtype == parts.front().tensor.dtype && w.columns == wanted.begin()->columns;
    bytes += t.bytes(), rows += t.dim(0);
    if (in_place()) p.parts.push_back(used_in_place(w.name, parts.back()));
  }
  if (in_place()) return p;
  std::byte* place = alike ? place_for(wanted.begin()->name, bytes) : nullptr;
  if (place) p.whole = Tensor(place, parts.front().tensor.dtype, {rows, wanted.begin()->columns}, where_.device);
  auto w = wanted.begin();
  for (const Part& part : parts) {
    const size_t size = part.tensor.bytes();
    p.parts.push_back(part.tensor.present() ? put(w->name, part, place ? place : place_for(w->name, size)) : Tensor());
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
