// quantization_config of a config.json: which layers have their weights as codes and scales, and how.
//
// Read are compressed-tensors (int8 and int4, symmetric, by rows or in groups) and fp8 in blocks of 128 x 128. What there is no
// code for is refused by name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/quantised.h"
#include "io/json_fields.h"
#include "io/name_pattern.h"

namespace sluice {

// How a matrix of weights is stored (core/quantised.h).
struct WeightScheme {
  CodeType codes = CodeType::kInt8;
  int64_t group = 0;  // of int8 and int4: neighbouring columns that share a scale; 0: a whole row
  bool operator==(const WeightScheme&) const = default;
};
// "int4 in groups of 32"
std::string describe(const WeightScheme& scheme);

enum class ModuleKind { kLinear, kEmbedding };

struct QuantizationConfig {
  struct Group {
    WeightScheme scheme;
    std::vector<NamePattern> targets;  // names, or a kind: Linear, Embedding
    bool operator==(const Group&) const = default;
  };
  std::vector<Group> groups;         // the first that fits counts
  std::vector<NamePattern> ignored;  // goes before them

  // Of a module as the checkpoint calls it. None: its weights are what they are in other checkpoints.
  std::optional<WeightScheme> scheme_of(std::string_view module, ModuleKind kind) const;
  bool operator==(const QuantizationConfig&) const = default;
};

// f: the object of that name. What is wrong with it goes to f's status.
QuantizationConfig read_quantization(const JsonFields& f);

}  // namespace sluice
