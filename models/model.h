// A model: an architecture with its weights. forward() runs one step for any mix of sequences.
//
// The layers below know nothing of pools or schedules: a step comes as a Batch (what to compute) and Pools (where state lives).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/context.h"
#include "core/tensor.h"
#include "io/checkpoint.h"
#include "io/model_config.h"
#include "ops/gdn_chunk/gdn_chunk.h"

namespace sluice {

// The work of one step as structure of arrays; B sequences, T rows in all. Plain data: it can be printed and replayed.
struct Batch {
  std::vector<int32_t> ids;          // [T] token of each row
  std::vector<int32_t> positions;    // [T] absolute position of each row
  std::vector<int32_t> cu_seqlens;   // [B+1] rows of sequence b are [cu[b], cu[b+1])
  std::vector<int32_t> start;        // [B] tokens before this step
  std::vector<int32_t> seq_lens;     // [B] tokens after it: start + rows
  std::vector<int32_t> slots;        // [B] state slot
  std::vector<int32_t> block_table;  // [B, pages_per_sequence], -1 padded
  int64_t pages_per_sequence = 0;
  std::vector<int32_t> logit_rows;  // rows whose logits are wanted, ascending
  bool verify = false;              // rows are drafts: no chunk is closed, see gdn_verify

  int64_t rows() const { return int64_t(ids.size()); }
  int64_t sequences() const { return int64_t(start.size()); }
  bool one_row_each() const { return rows() == sequences() && rows() > 0; }
};

// What a sequence occupies, so that the engine can allocate pools for any model.
struct PoolSpec {
  int64_t linear_layers = 0, key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0, conv_channels = 0, conv_width = 0;
  int64_t attention_layers = 0, kv_heads = 0, head_dim = 0;
  DType kv_dtype = DType::kBF16;
};

// Views of the pools' memory, one entry a layer of that kind, in layer order.
struct LinearLayerState {
  GdnState gdn;
  Tensor conv_ring;  // [S, R, C], see ops/qkv_conv_split
};
struct AttentionLayerCache {
  Tensor k, v;  // [pages, page, HKV, D]
};
struct Pools {
  std::vector<LinearLayerState> linear;
  std::vector<AttentionLayerCache> attention;
};

// Sees the residual stream [T, hidden] f32: after the embedding (layer -1), after each layer, after the final norm (layer L; in
// the activations' dtype). A returned error ends the step.
using LayerObserver = std::function<Status(int64_t layer, const Tensor& hidden)>;

class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelConfig& config() const = 0;
  virtual PoolSpec pool_spec() const = 0;
  virtual DType activation_dtype() const = 0;
  virtual size_t weight_bytes() const = 0;
  virtual bool has_mtp() const = 0;

  // Logits [logit_rows, vocab] f32, in the context's arena until its next reset.
  virtual Result<Tensor> forward(Context& ctx, const Batch& batch, const Pools& pools, const LayerObserver& observe = {}) const = 0;

  // Closes the chunks that accepted drafts have filled, in every layer. slots: [B] of them.
  virtual Status close_chunks(Context& ctx, const std::vector<int32_t>& slots, const Pools& pools) const = 0;
};

enum class DTypeChoice { kAuto, kBF16, kF32 };  // kAuto: bf16 for bf16 checkpoints, else fp32

struct LoadedModel {
  std::unique_ptr<Model> model;
  std::vector<std::string> notes;  // for people: what was ignored
};

Result<LoadedModel> load_model(const std::string& dir, DTypeChoice dtype);
// What the above does with the folder's configuration and checkpoint, for a caller that has them open.
Result<LoadedModel> load_model(const ModelConfig& config, Checkpoint checkpoint, DTypeChoice dtype);

// The same architecture with random weights, for measurements: config is a directory or a config.json.
Result<LoadedModel> random_model(const std::string& config, DTypeChoice dtype);

}  // namespace sluice
