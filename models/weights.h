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
#include "core/transfer.h"
#include "io/checkpoint.h"

namespace sluice {

// The weights of linear layers with the same input, and all of them as one matrix where they lie so.
struct Projection {
  std::vector<Tensor> parts;
  Tensor whole;  // or absent
};
struct NamedShape {
  std::string name;
  int64_t rows, columns;
};

class WeightSource {
 public:
  // Weights in the memory of a context's device: on the CPU they stay where the checkpoint is mapped; no copy.
  // show: bytes that the device has, of those that it will get.
  using Show = std::function<void(size_t done, size_t all)>;
  WeightSource(Checkpoint checkpoint, const Context& where, Show show = {})
      : where_(where), checkpoint_(std::make_unique<Checkpoint>(std::move(checkpoint))), show_(std::move(show)) {}
  // Random bf16 weights of whatever shape is asked for.
  explicit WeightSource(const Context& where) : where_(where) {}

  // The tensor `name` of this shape, F32 or BF16. An absent tensor on any failure; finish() has the reason.
  Tensor take(const std::string& name, std::initializer_list<int64_t> shape);
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

 private:
  Tensor find(const std::string& name, std::initializer_list<int64_t> shape);
  bool in_place() const;
  std::byte* place_for(const std::string& name, size_t bytes);
  Tensor put(const std::string& name, const Tensor& found, std::byte* place);
  Status make_random(const std::string& name, const Tensor& t);
  Status bring_transfers();
  Status no_room() const;

  Context where_;
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
