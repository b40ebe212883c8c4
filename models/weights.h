// Takes a model's tensors out of a checkpoint by name, checked against the configuration.
//
// Every take() is remembered; finish() reports all that was missing or wrong at once, and what the checkpoint holds beyond.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/context.h"
#include "core/group.h"
#include "core/transfer.h"
#include "io/checkpoint.h"

namespace sluice {

// The weights of linear layers with the same input, and all of them as one matrix where they lie so.
struct Projection {
  std::vector<Tensor> parts;
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
struct NamedShape {
  std::string name;
  int64_t rows, columns;
  Cut cut = {};
};

class WeightSource {
 public:
  // Weights in the memory of a context's device: on the CPU they stay where the checkpoint is mapped; no copy.
  // Of a group each rank takes its part. show: bytes that the device has, of those that it will get.
  using Show = std::function<void(size_t done, size_t all)>;
  WeightSource(Checkpoint checkpoint, const Context& where, Group* group, Show show = {})
      : where_(where), group_(group), checkpoint_(std::make_unique<Checkpoint>(std::move(checkpoint))), show_(std::move(show)) {}
  // Random bf16 weights of whatever shape is asked for.
  WeightSource(const Context& where, Group* group) : where_(where), group_(group) {}

  // The tensor `name` of this shape, F32 or BF16, or this rank's part of it. An absent tensor on any failure; finish() has the
  // reason.
  Tensor take(const std::string& name, std::initializer_list<int64_t> shape, const Cut& cut = {});
  // Matrices of the same width, behind one another where they must be copied anyway and are of one type.
  Projection take_together(std::initializer_list<NamedShape> wanted);
  // Constants of the model beside its weights, kept as long as these.
  Tensor keep(const std::string& name, const std::vector<double>& values);
  bool has(const std::string& name) const { return random() || checkpoint_->find(name); }
  // Names with this prefix are not used, and that is as it should be.
  void ignore(const std::string& prefix) { ignored_.push_back(prefix); }

  // Brings what lies in files to the device, and waits until it has all.
  Status finish();
  std::vector<std::string> notes() const { return notes_; }
  size_t bytes() const { return bytes_; }
  DType common_dtype() const { return bf16_bytes_ * 2 >= bytes_ ? DType::kBF16 : DType::kF32; }
  bool random() const { return checkpoint_ == nullptr; }
  Group* group() const { return group_; }

 private:
  // A tensor as it is to lie, and where the checkpoint has its rows, in blocks behind one another; of random weights nowhere.
  struct Part {
    Tensor tensor;
    std::vector<Tensor> blocks;
  };
  Part find(const std::string& name, std::initializer_list<int64_t> shape, const Cut& cut);
  Part part_of(const Tensor& whole, const Cut& cut) const;
  bool in_place() const;
  Tensor used_in_place(const std::string& name, const Part& part);
  std::byte* place_for(const std::string& name, size_t bytes);
  Tensor put(const std::string& name, const Part& part, std::byte* place);
  Status make_random(const std::string& name, const Tensor& t);
  Status bring_transfers();
  Status no_room() const;

  Context where_;
  Group* group_;                            // or null
  std::unique_ptr<Checkpoint> checkpoint_;  // null: random weights
  Show show_;
  std::vector<Buffer> made_;
  std::vector<Transfer> transfers_;  // from the checkpoint, until finish()
  std::optional<size_t> room_;       // bytes that the device has for weights, once they have not all found a place
  std::set<std::string, std::less<>> taken_;
  std::vector<std::string> ignored_, problems_, notes_;
  size_t bytes_ = 0, bf16_bytes_ = 0;
};

}  // namespace sluice
