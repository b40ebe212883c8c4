// Takes a model's tensors out of a checkpoint by name, checked against the configuration.
//
// Every take() is remembered; finish() reports all that was missing or wrong at once, and what the checkpoint holds beyond.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/context.h"
#include "core/group.h"
#include "core/transfer.h"
#include "io/checkpoint.h"
#include "models/model.h"

namespace sluice {

// The weights of linear layers with the same input, and all of them as one matrix where they lie so.
struct Projection {
  std::vector<Weight> parts;
  Tensor whole;  // or absent
};
// What `units` heads, or columns, or rows a rank of a group has: an even share, and of fewer units than ranks one, which its
// neighbours have too.
struct Share {
  int64_t begin, count;
};
Share share_of(const Group* group, int64_t units);

// How a tensor is shared out in a group: its rows are blocks behind one another, of which each rank has its share, or its columns
// are one such block. By default every rank has all of it.
struct Cut {
  struct Block {
    int64_t units, size = 1;  // rows or columns a unit
  };
  std::vector<Block> rows;
  Block columns{0};
};
// What a matrix is for. By it --quantize chooses (models/quantize.h).
enum class Role {
  kLinear,
  kGate,       // a linear layer of a few outputs, which decide what a state forgets and takes in
  kEmbedding,  // and the LM head, where it is the same table
  kHead
};
struct NamedShape {
  std::string name;  // of the module: its tensors are called name.weight, ...
  int64_t rows, columns;
  Cut cut = {};
  Role role = Role::kLinear;
};

class WeightSource {
 public:
  // Weights in the memory of a context's device: on the CPU they stay where the checkpoint is mapped; no copy.
  // Of a group each rank takes its part. show: bytes that the device has, of those that it will get.
  // stored: how config.json says that matrices are quantised; what the checkpoint holds must agree.
  WeightSource(Checkpoint checkpoint, std::optional<QuantizationConfig> stored, const LoadOptions& options)
      : WeightSource(options) {
    checkpoint_ = std::make_unique<Checkpoint>(std::move(checkpoint)), stored_ = std::move(stored);
  }
  // Random bf16 weights of whatever shape is asked for.
  explicit WeightSource(const LoadOptions& options)
      : where_(options.where), group_(options.group), show_(options.show), quantize_(options.quantize) {}

  // The tensor `name` of this shape, F32 or BF16, or this rank's part of it. An absent tensor on any failure; finish() has the
  // reason.
  Tensor take(const std::string& name, std::initializer_list<int64_t> shape, const Cut& cut = {});
  // A linear layer's matrix, or a table, as it is stored, or as it is to be quantised.
  Weight take(const NamedShape& wanted);
  // Matrices of the same width, behind one another where they must be copied anyway and are of one type.
  Projection take_together(std::initializer_list<NamedShape> wanted);
  // Constants of the model beside its weights, kept as long as these.
  Tensor keep(const std::string& name, const std::vector<double>& values);
  bool has_module(const std::string& name) const;
  // Names with this prefix are not used, and that is as it should be.
  void ignore(const std::string& prefix) { ignored_.push_back(prefix); }

  // Brings what lies in files to the device, and waits until it has all.
  Status finish();
  std::vector<std::string> notes() const { return notes_; }
  size_t bytes() const { return bytes_; }
  // Of most weights that are not quantised, or were not until now.
  DType common_dtype() const { return bf16_bytes_ * 2 >= plain_bytes_ ? DType::kBF16 : DType::kF32; }
  // What was quantised here, by its module's name.
  const std::map<std::string, Weight>& quantized() const { return quantized_; }
  bool random() const { return checkpoint_ == nullptr; }
  Group* group() const { return group_; }

 private:
  // A tensor as it is to lie, and where the checkpoint has its rows, in blocks behind one another; of random weights nowhere.
  struct Part {
    Tensor tensor;
    std::vector<Tensor> blocks;
  };
  // A matrix to be quantised, and where its codes and scales go.
  struct Quantizing {
    std::string name;
    Part from;
    Weight to;
  };
  const Tensor* find(const std::string& name, std::initializer_list<int64_t> shape, std::initializer_list<DType> types);
  Part find_part(const std::string& name, std::initializer_list<int64_t> shape, const Cut& cut);
  Part part_of(const Tensor& whole, const Cut& cut) const;
  std::optional<WeightScheme> scheme_in_file(const NamedShape& w) const;
  bool agrees(const NamedShape& w, const std::optional<WeightScheme>& found);
  Weight quantized_in_file(const NamedShape& w, const WeightScheme& scheme);
  void refuse_tensor(const std::string& name, const char* why);
  std::optional<WeightScheme> scheme_to_make(const NamedShape& w) const;
  Weight quantized(const NamedShape& w, const WeightScheme& scheme, Part from);
  bool in_place() const;
  Tensor used_in_place(const std::string& name, const Part& part);
  Tensor at_its_place(const std::string& name, const Part& part);
  std::byte* place_for(const std::string& name, size_t bytes);
  Tensor put(const std::string& name, const Part& part, std::byte* place);
  Status make_random(const std::string& name, const Tensor& t, uint64_t seed = 0);
  Status bring_transfers();
  Status quantize_all();
  Status no_room() const;

  Context where_;
  Group* group_;                            // or null
  std::unique_ptr<Checkpoint> checkpoint_;  // null: random weights
  LoadProgress show_;
  std::optional<Quantize> quantize_;
  std::optional<QuantizationConfig> stored_;
  std::vector<Buffer> made_;
  std::vector<Arena> blocks_;           // each with many of them
  std::vector<Transfer> transfers_;     // from the checkpoint, until finish()
  std::vector<Quantizing> quantizing_;  // likewise
  std::map<std::string, Weight> quantized_;
  std::optional<size_t> room_;  // bytes that the device has for weights, once they have not all found a place
  std::set<std::string, std::less<>> taken_;
  std::vector<std::string> ignored_, problems_, notes_;
  Status unfit_;  // what --quantize cannot do
  size_t bytes_ = 0, plain_bytes_ = 0, bf16_bytes_ = 0;
};

}  // namespace sluice
