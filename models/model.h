// A model: an architecture with its weights. forward() runs one step for any mix of sequences.
//
// The layers below know nothing of pools or schedules: a step comes as a Batch (what to compute) and Pools (where state lives).
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/context.h"
#include "core/group.h"
#include "core/tensor.h"
#include "io/checkpoint.h"
#include "io/model_config.h"
#include "ops/gdn_chunk/gdn_chunk.h"

namespace sluice {

// A matrix of weights [N, K]: numbers, or codes and what they are multiplied by (core/quantised.h).
struct Weight {
  Tensor values;
  Tensor scale;  // absent: values are f32 or bf16
  bool quantized() const { return scale.present(); }
  int64_t rows() const { return values.dim(0); }
  size_t bytes() const { return values.bytes() + (quantized() ? scale.bytes() : 0); }
};

// The work of one step as structure of arrays; B sequences, T rows in all. Plain data: it can be printed and replayed. The last
// sequences may be padding: slot -1, seq_lens 0, any number of rows, none of which means anything.
struct Batch {
  std::vector<int32_t> ids;          // [T] token of each row
  std::vector<int32_t> positions;    // [T] absolute position of each row
  std::vector<int32_t> cu_seqlens;   // [B+1] rows of sequence b are [cu[b], cu[b+1])
  std::vector<int32_t> cu_settled;   // the same of the sequences behind verify_sequences, from 0
  std::vector<int32_t> cu_rest;      // the same of those behind verify_sequences and single_sequences
  std::vector<int32_t> start;        // [B] tokens before this step
  std::vector<int32_t> seq_lens;     // [B] tokens after it: start + rows
  std::vector<int32_t> slots;        // [B] state slot
  std::vector<int32_t> block_table;  // [B, pages_per_sequence], -1 padded
  int64_t pages_per_sequence = 0;
  std::vector<int32_t> logit_rows;   // rows whose logits are wanted, ascending
  std::vector<int32_t> closed_rows;  // [B] the row that ends the last chunk which the sequence closes in this step; -1: none
  int64_t verify_sequences = 0;      // the first so many: their rows may be taken back, no chunk is closed, see gdn_verify
  int64_t single_sequences = 0;      // so many behind them have one row, and the last ones have more
  bool one_row_each = false;         // every sequence has one row
  int64_t padding_rows = 0, padding_logits = 0;  // the last so many mean nothing
  // A row's bits may not depend on what comes with it (--batch-invariant): one row a sequence takes the operators that several
  // take.
  bool invariant = false;

  int64_t rows() const { return int64_t(ids.size()); }
  int64_t sequences() const { return int64_t(start.size()); }
  int64_t verify_rows() const { return cu_seqlens[size_t(verify_sequences)]; }
  // Whether a sequence closes a chunk in this step.
  bool closes() const {
    return std::ranges::any_of(closed_rows, [](int32_t row) { return row >= 0; });
  }
};

// All of a batch that is not in its tables.
using BatchShape = std::array<int64_t, 9>;
inline BatchShape shape_of(const Batch& b) {
  return {b.rows(),           b.sequences(),        b.verify_sequences,           b.verify_rows(),
          b.single_sequences, b.pages_per_sequence, int64_t(b.logit_rows.size()), b.closes(),
          b.one_row_each};
}

// The same where the device reads it; models/step_tables.h brings it there. [T], [B], ... as above, i32.
struct StepTables {
  Tensor ids, positions, cu_seqlens, cu_settled, cu_rest, start, slots, seq_lens, block_table, logit_rows, closed_rows;
};

// What a model says when the workspace is too small.
inline Status step_does_not_fit(int64_t rows) {
  return {Code::kResourceExhausted, "a step of " + std::to_string(rows) + " rows does not fit in the workspace",
          "use a smaller --prefill-chunk"};
}

// What a sequence occupies, so that the engine can allocate pools for any model.
struct PoolSpec {
  int64_t linear_layers = 0, key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0, conv_channels = 0, conv_width = 0;
  int64_t attention_layers = 0, kv_heads = 0, head_dim = 0;
  DType kv_dtype = DType::kBF16;
  int64_t hidden_size = 0;  // of the hidden row that a draft head wants of a sequence's last closed token; 0: no draft head
};

// Views of the pools' memory, one entry a layer of that kind, in layer order.
struct LinearLayerState {
  GdnState gdn;
  Tensor conv_ring;  // [S, R, C], see ops/qkv_conv_split
  Tensor conv_tail;  // [S, W-1, C], see ops/conv_tail
};
struct AttentionLayerCache {
  Tensor k, v;  // [pages, page, HKV, D]
};
struct Pools {
  std::vector<LinearLayerState> linear;
  std::vector<AttentionLayerCache> attention;  // with a draft head: its cache last
  Tensor closed_hidden;                        // [S, hidden]: what the final norm gave for the last token of the last closed chunk
};

// Both in the context's arena until its next reset.
struct StepOutput {
  Tensor logits;  // [logit_rows, vocab] f32
  Tensor hidden;  // [T, hidden] in the activations' dtype: after the final norm
};

inline StepOutput without_padding(const StepOutput& out, const Batch& b) {
  return {.logits = out.logits.slice(0, 0, out.logits.dim(0) - b.padding_logits),
          .hidden = out.hidden.slice(0, 0, out.hidden.dim(0) - b.padding_rows)};
}

// Sees the residual stream [T, hidden] f32, in the CPU's memory: after the embedding (layer -1), after each layer, after the final
// norm (layer L; in the activations' dtype). A returned error ends the step.
using LayerObserver = std::function<Status(int64_t layer, const Tensor& hidden)>;

class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelConfig& config() const = 0;
  virtual PoolSpec pool_spec(bool drafting) const = 0;  // drafting: with what the draft head needs
  virtual DType activation_dtype() const = 0;
  virtual size_t weight_bytes() const = 0;
  virtual bool has_mtp() const = 0;

  // Wherever a chunk is closed, in forward() or close_chunks(), all of what a snapshot consists of is written: S, the convolution's
  // tail and the hidden row.
  // The launches depend on shape_of(batch) alone; the rest comes from the tables.
  virtual Result<StepOutput> forward(Context& ctx, const Batch& batch, const StepTables& tables, const Pools& pools,
                                     const LayerObserver& observe = {}) const = 0;

  // Closes the chunks that accepted drafts have filled, in every layer. hidden: [B, hidden], of each sequence's last token.
  virtual Status close_chunks(Context& ctx, const std::vector<int32_t>& slots, const std::vector<int32_t>& lengths,
                              const Tensor& hidden, const Pools& pools) const = 0;

  // The draft head: row j of a sequence, token j and what forward() or draft() gave as hidden for position j - 1, foretells token
  // j + 1. Rows start at position 1, and a row's keys depend on no later token, so that they can be shared as those of other
  // layers are. kUnsupported where has_mtp() is false.
  // Its launches too depend on shape_of(batch) and on where hidden_before lies.
  virtual Result<StepOutput> draft(Context& ctx, const Batch& batch, const StepTables& tables, const Tensor& hidden_before,
                                   const Pools& pools) const = 0;
};

enum class DTypeChoice { kAuto, kBF16, kF32 };  // kAuto: bf16 for bf16 checkpoints, else fp32

// What matrices of weights are made to as they are loaded.
struct Quantize {
  WeightScheme layers;                // linear layers, but for gates
  std::optional<WeightScheme> table;  // embedding and LM head; none: they stay as they are
};

// Bytes that the device has of those that it will get; called by the thread that loads.
using LoadProgress = std::function<void(size_t done, size_t all)>;

struct LoadOptions {
  DTypeChoice dtype = DTypeChoice::kAuto;
  Context where = {};      // weights in the memory of its device
  LoadProgress show = {};  // null: nobody looks
  Group* group = nullptr;  // each rank gets its part, and the model's calls are the whole group's; results are then at all of them
  std::optional<Quantize> quantize = {};  // by operators of `where`, on the CPU
};

struct LoadedModel {
  std::unique_ptr<Model> model;
  std::vector<std::string> notes;           // for people: what was ignored
  std::map<std::string, Weight> quantized;  // what LoadOptions::quantize made, by its module's name
};

Result<LoadedModel> load_model(const std::string& dir, const LoadOptions& options);
// What the above does with the folder's configuration and checkpoint, for a caller that has them open.
Result<LoadedModel> load_model(const ModelConfig& config, Checkpoint checkpoint, const LoadOptions& options);

// The same architecture with random weights, for measurements: config is a directory or a config.json.
Result<LoadedModel> random_model(const std::string& config, const LoadOptions& options);

}  // namespace sluice
