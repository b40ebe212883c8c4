#include "models/weights.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "core/memory.h"
#include "ops/weight_quant/weight_quant.h"

namespace sluice {
namespace {

constexpr size_t kShownProblems = 5;

// Tensors of a module.
constexpr const char *kValues = ".weight", *kPacked = ".weight_packed", *kScale = ".weight_scale", *kScaleInv = ".weight_scale_inv";

// Of int8 and int4.
int64_t scales_of_row(const WeightScheme& scheme, int64_t columns) { return scheme.group == 0 ? 1 : columns / scheme.group; }

// Whether t holds [rows, columns].
bool is_shape(const Tensor& t, int64_t rows, int64_t columns) {
  if (t.rank != 1 || t.dim(0) != 2) return false;
  if (t.dtype == DType::kI64) return t.as<int64_t>()[0] == rows && t.as<int64_t>()[1] == columns;
  return t.dtype == DType::kI32 && t.as<int32_t>()[0] == rows && t.as<int32_t>()[1] == columns;
}

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

// What a name stands for in the checkpoint, checked.
const Tensor* WeightSource::find(const std::string& name, std::initializer_list<int64_t> shape,
                                 std::initializer_list<DType> types) {
  const Tensor wanted(nullptr, DType::kBF16, shape);
  taken_.insert(name);
  const Tensor* found = checkpoint_->find(name);
  if (!found) {
    problems_.push_back(name + " is missing, wanted shape " + wanted.shape_string());
  } else if (found->rank != wanted.rank || found->shape != wanted.shape) {
    problems_.push_back(name + " has shape " + found->shape_string() + ", wanted " + wanted.shape_string());
  } else if (std::ranges::count(types, found->dtype) == 0) {
    std::string names;
    for (const DType t : types) names += (names.empty() ? "" : " or ") + std::string(dtype_name(t));
    problems_.push_back(name + " is " + std::string(dtype_name(found->dtype)) + ", wanted " + names);
  } else {
    return found;
  }
  return nullptr;
}

// Where it lies, or this rank's part of it.
WeightSource::Part WeightSource::find_part(const std::string& name, std::initializer_list<int64_t> shape, const Cut& cut) {
  const Tensor anything(nullptr, DType::kBF16, shape);
  const Tensor* found = random() ? &anything : find(name, shape, {DType::kBF16, DType::kF32});
  if (!found) return {};
  const Part part = part_of(*found, cut);
  const size_t bytes = part.tensor.bytes();
  bytes_ += bytes, plain_bytes_ += bytes;
  if (found->dtype == DType::kBF16) bf16_bytes_ += bytes;
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
  // On the CPU they share large blocks, and so huge pages: of its own, a matrix that is smaller than one would lie in small ones.
  constexpr size_t kBlock = size_t(256) << 20;  // of address space: what is not used of it costs nothing
  const bool shares = where_.device.kind == DeviceKind::kCpu && bytes < kBlock;
  if (shares && !blocks_.empty())
    if (void* place = blocks_.back().allocate(bytes)) return static_cast<std::byte*>(place);
  auto memory = allocate_memory(where_, shares ? kBlock : bytes);
  if (memory.ok() && shares) return static_cast<std::byte*>(blocks_.emplace_back(Arena::over(std::move(*memory))).allocate(bytes));
  if (memory.ok()) return made_.emplace_back(std::move(*memory)).data();
  if (memory.status().code() != Code::kResourceExhausted) problems_.push_back(name + ": " + memory.status().message());
  room_ = memory_left(where_);
  for (const Buffer& b : made_) *room_ += b.size();
  for (const Arena& b : blocks_) *room_ += b.used();
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

Tensor WeightSource::at_its_place(const std::string& name, const Part& part) {
  if (in_place()) return used_in_place(name, part);
  return part.tensor.present() ? put(name, part, place_for(name, part.tensor.bytes())) : Tensor();
}

Tensor WeightSource::take(const std::string& name, std::initializer_list<int64_t> shape, const Cut& cut) {
  return at_its_place(name, find_part(name, shape, cut));
}

bool WeightSource::has_module(const std::string& name) const {
  return random() || checkpoint_->find(name + kValues) || checkpoint_->find(name + kPacked);
}

// How the checkpoint has a matrix, by types and shapes. None: not quantised, or not there.
std::optional<WeightScheme> WeightSource::scheme_in_file(const NamedShape& w) const {
  const Tensor* packed = checkpoint_->find(w.name + kPacked);
  const Tensor* codes = packed ? packed : checkpoint_->find(w.name + kValues);
  if (!codes || (!packed && codes->dtype != DType::kI8 && codes->dtype != DType::kF8E4M3)) return std::nullopt;
  if (codes->dtype == DType::kF8E4M3) return WeightScheme{CodeType::kFp8};
  const Tensor* scale = checkpoint_->find(w.name + kScale);
  const int64_t groups = scale && scale->rank == 2 ? scale->shape[1] : 1;
  const bool grouped = groups > 1 && w.columns % groups == 0;
  return WeightScheme{packed ? CodeType::kInt4 : CodeType::kInt8, grouped ? w.columns / groups : 0};
}

// Whether config.json says the same.
bool WeightSource::agrees(const NamedShape& w, const std::optional<WeightScheme>& found) {
  std::optional<WeightScheme> said;
  if (stored_) said = stored_->scheme_of(w.name, w.role == Role::kEmbedding ? ModuleKind::kEmbedding : ModuleKind::kLinear);
  if (said && said->group == w.columns) said->group = 0;
  if (said == found || !has_module(w.name)) return true;
  const auto text = [](const std::optional<WeightScheme>& s) { return s ? describe(*s) : std::string("no quantised weights"); };
  problems_.push_back(w.name + " has " + text(found) + ", quantization_config says " + text(said));
  return false;
}

// A tensor that changes what the others mean.
void WeightSource::refuse_tensor(const std::string& name, const char* why) {
  if (checkpoint_->find(name)) problems_.push_back(name + " is there: " + why + " is not supported");
}

Weight WeightSource::quantized_in_file(const NamedShape& w, const WeightScheme& scheme) {
  const bool fp8 = scheme.codes == CodeType::kFp8, int4 = scheme.codes == CodeType::kInt4;
  refuse_tensor(w.name + ".weight_zero_point", "asymmetric quantisation");
  refuse_tensor(w.name + ".weight_g_idx", "reordering of columns");
  if (!fp8 && w.columns % kQuantGroup != 0)
    problems_.push_back(w.name + " has " + std::to_string(w.columns) + " columns, wanted a multiple of " +
                        std::to_string(kQuantGroup));
  const std::string shape = w.name + ".weight_shape";
  if (const Tensor* t = checkpoint_->find(shape); t && int4) {
    taken_.insert(shape);
    if (!is_shape(*t, w.rows, w.columns))
      problems_.push_back(shape + " is not [" + std::to_string(w.rows) + ", " + std::to_string(w.columns) + "]");
  }
  const Tensor* values = int4 ? find(w.name + kPacked, {w.rows, w.columns / kCodesOfWord}, {DType::kI32})
                              : find(w.name + kValues, {w.rows, w.columns}, {fp8 ? DType::kF8E4M3 : DType::kI8});
  const Tensor* scale =
      fp8 ? find(w.name + kScaleInv, {ceil_div(w.rows, kFp8Block), ceil_div(w.columns, kFp8Block)}, {DType::kBF16, DType::kF32})
          : find(w.name + kScale, {w.rows, scales_of_row(scheme, w.columns)}, {DType::kBF16, DType::kF16, DType::kF32});
  if (!values || !scale) return {};
  const Weight weight{.values = *values, .scale = *scale};
  bytes_ += weight.bytes();
  return weight;
}

std::optional<WeightScheme> WeightSource::scheme_to_make(const NamedShape& w) const {
  if (!quantize_ || w.role == Role::kGate) return std::nullopt;
  return w.role == Role::kLinear ? quantize_->layers : quantize_->table;
}

// Codes and scales of a matrix, made in finish(). Scales are of the type that the weights had, as others write them.
Weight WeightSource::quantized(const NamedShape& w, const WeightScheme& scheme, Part from) {
  if (!from.tensor.present()) return {};
  const int64_t group = std::max(scheme.group, kQuantGroup);
  if (w.columns % group != 0) {
    if (unfit_.ok())
      unfit_ = {
          Code::kUnsupported,
          w.name + " has " + std::to_string(w.columns) + " columns, which groups of " + std::to_string(group) + " do not divide",
          group > kQuantGroup ? "use --group-size " + std::to_string(kQuantGroup) : "leave the model as it is"};
    return {};
  }
  const bool int4 = scheme.codes == CodeType::kInt4;
  Weight weight{.values = Tensor(nullptr, int4 ? DType::kI32 : DType::kI8, {w.rows, int4 ? w.columns / kCodesOfWord : w.columns}),
                .scale = Tensor(nullptr, from.tensor.dtype, {w.rows, scales_of_row(scheme, w.columns)})};
  weight.values.data = place_for(w.name, weight.values.bytes());
  weight.scale.data = place_for(w.name, weight.scale.bytes());
  bytes_ = bytes_ - from.tensor.bytes() + weight.bytes();
  quantized_[w.name] = weight;
  quantizing_.push_back({w.name, std::move(from), weight});
  return weight;
}

Weight WeightSource::take(const NamedShape& w) {
  if (!random()) {
    const std::optional<WeightScheme> found = scheme_in_file(w);
    if (!agrees(w, found)) return {};
    if (found) return quantized_in_file(w, *found);
  }
  const std::string name = w.name + kValues;
  Part part = find_part(name, {w.rows, w.columns}, w.cut);
  if (const auto scheme = scheme_to_make(w)) return quantized(w, *scheme, std::move(part));
  return {.values = at_its_place(name, part)};
}

Projection WeightSource::take_together(std::initializer_list<NamedShape> wanted) {
  Projection p;
  if (in_place() || quantize_) {
    for (const NamedShape& w : wanted) p.parts.push_back(take(w));
    return p;
  }
  std::vector<Part> parts;
  size_t bytes = 0;
  int64_t rows = 0;
  bool alike = true;
  for (const NamedShape& w : wanted) {
    parts.push_back(find_part(w.name + kValues, {w.rows, w.columns}, w.cut));
    const Tensor& t = parts.back().tensor;
    alike = alike && t.present() && t.dtype == parts.front().tensor.dtype && w.columns == wanted.begin()->columns;
    bytes += t.bytes(), rows += t.dim(0);
  }
  std::byte* place = alike ? place_for(wanted.begin()->name, bytes) : nullptr;
  if (place) p.whole = Tensor(place, parts.front().tensor.dtype, {rows, wanted.begin()->columns}, where_.device);
  auto w = wanted.begin();
  for (const Part& part : parts) {
    const std::string name = w->name + kValues;
    const size_t size = part.tensor.bytes();
    p.parts.push_back({.values = part.tensor.present() ? put(name, part, place ? place : place_for(name, size)) : Tensor()});
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
Status WeightSource::make_random(const std::string& name, const Tensor& t, uint64_t seed) {
  const int64_t fan_in = t.rank > 1 ? t.numel() / t.shape[0] : 100;
  return fill_random(where_, t, std::sqrt(3.0f / float(std::max<int64_t>(fan_in, 1))), std::hash<std::string>{}(name) + seed);
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

// A stretch of rows after the other, so that little of what is quantised is ever in memory.
Status WeightSource::quantize_all() {
  constexpr int64_t kStretch = 1 << 18;  // weights: they stay in the cache
  const std::vector<Quantizing> all = std::exchange(quantizing_, {});
  size_t bytes = 0, done = 0;
  for (const Quantizing& q : all) bytes += q.from.tensor.bytes();
  for (const auto& [name, from, to] : all) {
    const int64_t rows = from.tensor.dim(0), columns = from.tensor.dim(1), step = std::clamp<int64_t>(kStretch / columns, 1, rows);
    Tensor w(nullptr, from.tensor.dtype, {step, columns});
    SLUICE_ASSIGN_OR_RETURN(const Buffer memory, Buffer::allocate(w.bytes()));
    w.data = memory.data();
    for (int64_t begin = 0; begin < rows; begin += step) {
      const int64_t end = std::min(rows, begin + step);
      const Tensor part = w.slice(0, 0, end - begin);
      const size_t offset = size_t(begin * columns) * dtype_size(w.dtype);
      SLUICE_RETURN_IF_ERROR(random() ? make_random(name + kValues, part, uint64_t(begin))
                                      : read_blocks(*checkpoint_, from.blocks, offset, part.bytes(), memory.data()));
      SLUICE_RETURN_IF_ERROR(
          weight_quant(where_, {.w = part, .codes = to.values.slice(0, begin, end), .scale = to.scale.slice(0, begin, end)}));
      done += part.bytes();
      if (show_) show_(done, bytes);
    }
  }
  return {};
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
  SLUICE_RETURN_IF_ERROR(unfit_);
  if (room_) return no_room();
  SLUICE_RETURN_IF_ERROR(bring_transfers());
  SLUICE_RETURN_IF_ERROR(quantize_all());
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
