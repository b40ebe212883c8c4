#include "models/qwen3_5.h"

#include <cmath>
#include <variant>

#include "core/memory.h"
#include "models/observe.h"
#include "models/projection.h"
#include "ops/conv_tail/conv_tail.h"
#include "ops/copy_rows/copy_rows.h"
#include "ops/embed/embed.h"
#include "ops/gated_rmsnorm/gated_rmsnorm.h"
#include "ops/gdn_close/gdn_close.h"
#include "ops/gdn_decode/gdn_decode.h"
#include "ops/gdn_prefill/gdn_prefill.h"
#include "ops/gdn_step/gdn_step.h"
#include "ops/gdn_verify/gdn_verify.h"
#include "ops/gqa_decode/gqa_decode.h"
#include "ops/gqa_prefill/gqa_prefill.h"
#include "ops/kv_append/kv_append.h"
#include "ops/qkv_conv_split/qkv_conv_split.h"
#include "ops/rmsnorm/rmsnorm.h"
#include "ops/rope/rope.h"
#include "ops/silu_mul/silu_mul.h"

namespace sluice {
namespace {

struct LinearAttention {
  Projection in;  // q, k and v; z; b; a
  Weight out;
  Tensor conv, A_log, dt_bias, norm;
};
struct FullAttention {
  Projection in;  // q and the output gate; k; v
  Weight o;
  Tensor q_norm, k_norm;
};
struct Mlp {
  Projection in;  // gate; up
  Weight down;
};
struct Layer {
  Tensor input_norm, post_norm;
  std::variant<LinearAttention, FullAttention> mixer;
  Mlp mlp;
};
// Multi-token prediction: guesses token t+2 from the hidden state at t and the embedding of token t+1.
struct Mtp {
  Weight fc;
  Tensor norm_embedding, norm_hidden, norm;
  Layer layer;
};

class Qwen3_5 final : public Model {
 public:
  static Result<LoadedModel> make(const ModelConfig& config, WeightSource source, DTypeChoice dtype);

  const ModelConfig& config() const override { return c_; }
  PoolSpec pool_spec(bool drafting) const override;
  DType activation_dtype() const override { return act_; }
  size_t weight_bytes() const override { return source_.bytes(); }
  bool has_mtp() const override { return mtp_ != nullptr; }
  Result<StepOutput> forward(Context&, const Batch&, const StepTables&, const Pools&, const LayerObserver&) const override;
  Status close_chunks(Context&, const std::vector<int32_t>& slots, const std::vector<int32_t>& lengths, const Tensor& hidden,
                      const Pools&) const override;
  Result<StepOutput> draft(Context&, const Batch&, const StepTables&, const Tensor& hidden_before, const Pools&) const override;

 private:
  Qwen3_5(const ModelConfig& config, const ModelConfig& part, WeightSource source)
      : c_(config), part_(part), source_(std::move(source)) {}

  void take_weights();
  Layer take_layer(const std::string& prefix, LayerKind kind);
  LinearAttention take_linear(const std::string& prefix);
  FullAttention take_full(const std::string& prefix);
  Weight words_of_table() const;

  // A step's tables, and its tensors in the arena.
  struct Step;
  // The residual stream is `hidden`; `delta`, the last block's output, is added by the norm that follows it, which writes `x`.
  struct Residual {
    Tensor hidden, delta, x;
    bool started = false;  // a block has written delta
  };
  Status norm(Step&, Residual&, const Tensor& weight) const;
  Status linear_attention(Step&, const LinearAttention&, const LinearLayerState&, const Tensor& x, const Tensor& out) const;
  Status delta_rule(Step&, const GdnArgs&) const;
  Status full_attention(Step&, const FullAttention&, const AttentionLayerCache&, const Tensor& x, const Tensor& out) const;
  Status mlp(Step&, const Mlp&, const Tensor& x, const Tensor& out) const;
  Result<StepOutput> head(Step&, const Residual&) const;

  ModelConfig c_, part_;  // part_: with the numbers of heads, columns and words that are this rank's
  WeightSource source_;   // owns the memory behind the tensors
  DType act_ = DType::kBF16;
  Weight embed_, head_;
  Tensor norm_;
  std::vector<Layer> layers_;
  std::unique_ptr<Mtp> mtp_;
  Tensor inv_freq_;  // of rope
};

// ---- weights ----

LinearAttention Qwen3_5::take_linear(const std::string& p) {
  const int64_t h = c_.hidden_size, hv = c_.linear_value_heads, v = hv * c_.linear_value_dim;
  const int64_t channels = 2 * c_.linear_key_heads * c_.linear_key_dim + v;
  const Cut::Block keys{c_.linear_key_heads, c_.linear_key_dim}, values{hv, c_.linear_value_dim};
  const Cut qkv{{keys, keys, values}}, z{{values}}, heads{{{hv}}};
  return {.in = source_.take_together({{p + "in_proj_qkv", channels, h, qkv},
                                       {p + "in_proj_z", v, h, z},
                                       {p + "in_proj_b", hv, h, heads, Role::kGate},
                                       {p + "in_proj_a", hv, h, heads, Role::kGate}}),
          .out = source_.take({p + "out_proj", h, v, {.columns = values}}),
          .conv = source_.take(p + "conv1d.weight", {channels, 1, c_.conv_width}, qkv),
          .A_log = source_.take(p + "A_log", {hv}, heads),
          .dt_bias = source_.take(p + "dt_bias", {hv}, heads),
          .norm = source_.take(p + "norm.weight", {c_.linear_value_dim})};
}

FullAttention Qwen3_5::take_full(const std::string& p) {
  const int64_t h = c_.hidden_size, d = c_.head_dim, kv = c_.num_kv_heads * d;
  const int64_t heads = c_.num_attention_heads, per_head = c_.attn_output_gate ? 2 * d : d;
  const Cut keys{{{c_.num_kv_heads, d}}};
  return {
      .in = source_.take_together(
          {{p + "q_proj", heads * per_head, h, {{{heads, per_head}}}}, {p + "k_proj", kv, h, keys}, {p + "v_proj", kv, h, keys}}),
      .o = source_.take({p + "o_proj", h, heads * d, {.columns = {heads, d}}}),
      .q_norm = source_.take(p + "q_norm.weight", {d}),
      .k_norm = source_.take(p + "k_norm.weight", {d})};
}

Layer Qwen3_5::take_layer(const std::string& p, LayerKind kind) {
  const int64_t h = c_.hidden_size, i = c_.intermediate_size;
  const Cut columns{{{i}}};
  Layer layer{.input_norm = source_.take(p + "input_layernorm.weight", {h}),
              .post_norm = source_.take(p + "post_attention_layernorm.weight", {h}),
              .mixer = {},
              .mlp = {.in = source_.take_together({{p + "mlp.gate_proj", i, h, columns}, {p + "mlp.up_proj", i, h, columns}}),
                      .down = source_.take({p + "mlp.down_proj", h, i, {.columns = {i}}})}};
  if (kind == LayerKind::kLinearAttention) layer.mixer = take_linear(p + "linear_attn.");
  else layer.mixer = take_full(p + "self_attn.");
  return layer;
}

// This rank's words of the table that is the embedding.
Weight Qwen3_5::words_of_table() const {
  const Share words = share_of(source_.group(), c_.vocab_size);
  if (!source_.group() || !embed_.values.present()) return embed_;
  return {.values = embed_.values.slice(0, words.begin, words.begin + words.count)};
}

void Qwen3_5::take_weights() {
  const std::string root = c_.wrapped ? "model.language_model." : "model.";
  const int64_t h = c_.hidden_size;
  embed_ = source_.take({root + "embed_tokens", c_.vocab_size, h, {}, Role::kEmbedding});
  for (int64_t l = 0; l < c_.num_layers; ++l)
    layers_.push_back(take_layer(root + "layers." + std::to_string(l) + ".", c_.layers[l]));
  norm_ = source_.take(root + "norm.weight", {h});
  head_ = c_.tie_word_embeddings ? words_of_table() : source_.take({"lm_head", c_.vocab_size, h, {{{c_.vocab_size}}}, Role::kHead});
  if (c_.mtp_layers > 0 && source_.has_module("mtp.fc")) {
    mtp_ = std::make_unique<Mtp>(Mtp{.fc = source_.take({"mtp.fc", h, 2 * h}),
                                     .norm_embedding = source_.take("mtp.pre_fc_norm_embedding.weight", {h}),
                                     .norm_hidden = source_.take("mtp.pre_fc_norm_hidden.weight", {h}),
                                     .norm = source_.take("mtp.norm.weight", {h}),
                                     .layer = take_layer("mtp.layers.0.", LayerKind::kFullAttention)});
  }
  inv_freq_ = source_.keep("inv_freq", rope_frequencies(c_.rope_theta, int(c_.rotary_dim)));
  source_.ignore("model.visual.");
}

// What a rank of a group has of the model: heads of keys with those that read them, columns of the MLP.
Result<ModelConfig> part_of(const ModelConfig& whole, const Group* group) {
  if (!group) return whole;
  ModelConfig part = whole;
  const int64_t ranks = group->size();
  const auto refuse = [&](int64_t count, const char* what) {
    return invalid("--tp " + std::to_string(ranks) + ": the model has " + std::to_string(count) + " " + what +
                       ", which are not to be shared evenly",
                   "give a number that divides them");
  };
  for (const auto& [field, what] : {std::pair{&ModelConfig::linear_key_heads, "key heads in its delta layers"},
                                    {&ModelConfig::linear_value_heads, "value heads in its delta layers"},
                                    {&ModelConfig::num_attention_heads, "attention heads"},
                                    {&ModelConfig::intermediate_size, "columns in its MLP"},
                                    {&ModelConfig::vocab_size, "words"}}) {
    if (whole.*field % ranks != 0) return refuse(whole.*field, what);
    part.*field = share_of(group, whole.*field).count;
  }
  if (whole.num_kv_heads % ranks != 0 && ranks % whole.num_kv_heads != 0)
    return refuse(whole.num_kv_heads, "key heads in its attention layers");
  part.num_kv_heads = share_of(group, whole.num_kv_heads).count;
  return part;
}

Result<LoadedModel> Qwen3_5::make(const ModelConfig& config, WeightSource source, DTypeChoice dtype) {
  SLUICE_ASSIGN_OR_RETURN(const ModelConfig part, part_of(config, source.group()));
  std::unique_ptr<Qwen3_5> m(new Qwen3_5(config, part, std::move(source)));
  m->take_weights();
  SLUICE_RETURN_IF_ERROR(m->source_.finish());
  if (dtype == DTypeChoice::kAuto) m->act_ = m->source_.common_dtype();
  else m->act_ = dtype == DTypeChoice::kBF16 ? DType::kBF16 : DType::kF32;
  LoadedModel loaded{.notes = m->source_.notes(), .quantized = m->source_.quantized()};
  loaded.model = std::move(m);
  return loaded;
}

PoolSpec Qwen3_5::pool_spec(bool drafting) const {
  PoolSpec s;
  for (const LayerKind kind : c_.layers) ++(kind == LayerKind::kLinearAttention ? s.linear_layers : s.attention_layers);
  if (drafting && mtp_) ++s.attention_layers, s.hidden_size = c_.hidden_size;
  s.key_heads = part_.linear_key_heads, s.value_heads = part_.linear_value_heads;
  s.key_dim = c_.linear_key_dim, s.value_dim = c_.linear_value_dim;
  s.conv_channels = 2 * s.key_heads * s.key_dim + s.value_heads * s.value_dim, s.conv_width = c_.conv_width;
  s.kv_heads = part_.num_kv_heads, s.head_dim = c_.head_dim, s.kv_dtype = act_;
  return s;
}

// ---- forward ----

struct Qwen3_5::Step {
  Context& ctx;
  const Batch& batch;
  const StepTables& in;
  int64_t T, B;
  int64_t first_key = 0;  // of attention
  bool closes;            // a sequence closes a chunk: one step of 64 in decoding
  bool out_of_memory = false;

  Step(Context& ctx, const Batch& b, const StepTables& tables)
      : ctx(ctx), batch(b), in(tables), T(b.rows()), B(b.sequences()), closes(b.closes()) {}
  Tensor make(DType dtype, std::initializer_list<int64_t> dims) {
    Tensor t = ctx.arena->tensor(dtype, dims);
    out_of_memory |= !t.present();
    return t;
  }
  Tensor f32(std::initializer_list<int64_t> dims) { return make(DType::kF32, dims); }
  // Of what comes between the products: a GPU's tensor cores read bf16, on the CPU fp32 costs nothing.
  DType operands(DType activations) const { return ctx.gpu ? activations : DType::kF32; }
  // Of each sequence, and none is to be verified.
  bool takes_one_row() const { return batch.one_row_each && batch.verify_sequences == 0; }
  // Whether gdn_step does for the operators that it consists of: on a GPU its sums are others.
  bool fuses() const { return !ctx.gpu || !batch.invariant; }
  Status memory() const { return out_of_memory ? step_does_not_fit(T) : Status(); }
};

Status Qwen3_5::linear_attention(Step& s, const LinearAttention& w, const LinearLayerState& state, const Tensor& x,
                                 const Tensor& out) const {
  const int64_t HK = part_.linear_key_heads, HV = part_.linear_value_heads, K = c_.linear_key_dim, V = c_.linear_value_dim, T = s.T;
  Tensor qkv, z, b, a;
  SLUICE_RETURN_IF_ERROR(project(s.ctx, x, w.in, s.operands(act_), {&qkv, &z, &b, &a}));
  const Tensor y = s.make(act_, {T, HV, V});
  SLUICE_RETURN_IF_ERROR(s.memory());

  const Tensor conv = w.conv.reshape({w.conv.dim(0), c_.conv_width}), gate = z.split_last(HV, V);
  const float scale = float(1 / std::sqrt(double(K))), eps = float(c_.rms_norm_eps);
  if (s.closes)
    SLUICE_RETURN_IF_ERROR(conv_tail(s.ctx, {.qkv = qkv.slice(0, s.batch.verify_rows(), T),
                                             .conv_ring = state.conv_ring,
                                             .cu_seqlens = s.in.cu_settled,
                                             .start = s.in.start.slice(0, s.batch.verify_sequences, s.B),
                                             .slots = s.in.slots.slice(0, s.batch.verify_sequences, s.B),
                                             .tail = state.conv_tail}));
  if (s.takes_one_row() && s.fuses()) {
    SLUICE_RETURN_IF_ERROR(gdn_step(s.ctx, {.qkv = qkv,
                                            .z = gate,
                                            .b = b,
                                            .a = a,
                                            .conv_weight = conv,
                                            .A_log = w.A_log,
                                            .dt_bias = w.dt_bias,
                                            .norm_weight = w.norm,
                                            .conv_ring = state.conv_ring,
                                            .start = s.in.start,
                                            .slots = s.in.slots,
                                            .state = state.gdn,
                                            .y = y,
                                            .scale = scale,
                                            .norm_eps = eps}));
  } else {
    const DType operands = s.operands(act_);
    const Tensor q = s.make(operands, {T, HK, K}), k = s.make(operands, {T, HK, K});
    const Tensor v = s.make(operands, {T, HV, V}), o = s.make(operands, {T, HV, V});
    const Tensor log_g = s.f32({T, HV}), beta = s.f32({T, HV});
    SLUICE_RETURN_IF_ERROR(s.memory());
    SLUICE_RETURN_IF_ERROR(qkv_conv_split(s.ctx, {.qkv = qkv,
                                                  .b = b,
                                                  .a = a,
                                                  .weight = conv,
                                                  .A_log = w.A_log,
                                                  .dt_bias = w.dt_bias,
                                                  .conv_ring = state.conv_ring,
                                                  .cu_seqlens = s.in.cu_seqlens,
                                                  .start = s.in.start,
                                                  .slots = s.in.slots,
                                                  .q = q,
                                                  .k = k,
                                                  .v = v,
                                                  .log_g = log_g,
                                                  .beta = beta}));
    SLUICE_RETURN_IF_ERROR(delta_rule(s, {.q = q,
                                          .k = k,
                                          .v = v,
                                          .log_g = log_g,
                                          .beta = beta,
                                          .cu_seqlens = s.in.cu_seqlens,
                                          .start = s.in.start,
                                          .slots = s.in.slots,
                                          .state = state.gdn,
                                          .o = o,
                                          .scale = scale}));
    SLUICE_RETURN_IF_ERROR(gated_rmsnorm(s.ctx, {.x = o, .z = gate, .weight = w.norm, .y = y, .eps = eps, .gate = Gate::kSilu}));
  }
  return project_back(s.ctx, source_.group(), y.reshape({T, HV * V}), w.out, out);
}

// Sequences whose rows may be taken back come first in the batch; the others close their chunks as they fill them, those of one row
// each without the work of a chunk.
Status Qwen3_5::delta_rule(Step& s, const GdnArgs& all) const {
  const int64_t sequences = s.batch.verify_sequences, rows = s.batch.verify_rows(), single = s.batch.single_sequences;
  const auto part = [&](int64_t begin, int64_t end, int64_t first, int64_t last, const Tensor& cu) {
    GdnArgs a = all;
    for (Tensor* t : {&a.q, &a.k, &a.v, &a.log_g, &a.beta, &a.o}) *t = t->slice(0, begin, end);
    for (Tensor* t : {&a.start, &a.slots}) *t = t->slice(0, first, last);
    a.cu_seqlens = cu;
    return a;
  };
  if (s.takes_one_row()) return gdn_decode(s.ctx, {part(0, s.T, 0, s.B, {})});
  if (sequences > 0)
    SLUICE_RETURN_IF_ERROR(gdn_verify(s.ctx, {part(0, rows, 0, sequences, s.in.cu_seqlens.slice(0, 0, sequences + 1))}));
  if (single > 0) SLUICE_RETURN_IF_ERROR(gdn_decode(s.ctx, {part(rows, rows + single, sequences, sequences + single, Tensor())}));
  if (sequences + single == s.B) return {};
  return gdn_prefill(s.ctx, {part(rows + single, s.T, sequences + single, s.B, s.in.cu_rest)});
}

Status Qwen3_5::full_attention(Step& s, const FullAttention& w, const AttentionLayerCache& cache, const Tensor& x,
                               const Tensor& out) const {
  const int64_t HQ = part_.num_attention_heads, HKV = part_.num_kv_heads, D = c_.head_dim, T = s.T;
  const int64_t per_head = c_.attn_output_gate ? 2 * D : D;
  Tensor q_rows, k_rows, v_rows;
  SLUICE_RETURN_IF_ERROR(project(s.ctx, x, w.in, s.operands(act_), {&q_rows, &k_rows, &v_rows}));
  const Tensor o = s.make(act_, {T, HQ, D});
  SLUICE_RETURN_IF_ERROR(s.memory());

  // q_proj gives, per head, D query values and then D values of the output gate.
  const Tensor q_and_gate = q_rows.split_last(HQ, per_head);
  const Tensor q = q_and_gate.slice(2, 0, D), k = k_rows.split_last(HKV, D), v = v_rows.split_last(HKV, D);
  const Tensor gate = c_.attn_output_gate ? q_and_gate.slice(2, D, 2 * D) : Tensor();
  const float eps = float(c_.rms_norm_eps);
  SLUICE_RETURN_IF_ERROR(rmsnorm(s.ctx, {.x = q, .weight = w.q_norm, .y = q, .eps = eps, .weight_offset = 1}));
  SLUICE_RETURN_IF_ERROR(rmsnorm(s.ctx, {.x = k, .weight = w.k_norm, .y = k, .eps = eps, .weight_offset = 1}));
  SLUICE_RETURN_IF_ERROR(rope(s.ctx, {.q = q, .k = k, .positions = s.in.positions, .inv_freq = inv_freq_, .q_out = q, .k_out = k}));
  SLUICE_RETURN_IF_ERROR(kv_append(s.ctx, {.k = k,
                                           .v = v,
                                           .cu_seqlens = s.in.cu_seqlens,
                                           .start = s.in.start,
                                           .block_table = s.in.block_table,
                                           .k_cache = cache.k,
                                           .v_cache = cache.v}));
  const float scale = float(1 / std::sqrt(double(D)));
  GqaArgs attend{.q = q,
                 .gate = gate,
                 .k_cache = cache.k,
                 .v_cache = cache.v,
                 .block_table = s.in.block_table,
                 .seq_lens = s.in.seq_lens,
                 .o = o,
                 .scale = scale,
                 .first_key = s.first_key};
  if (!s.batch.one_row_each) attend.cu_seqlens = s.in.cu_seqlens;
  SLUICE_RETURN_IF_ERROR(s.batch.one_row_each ? gqa_decode(s.ctx, {attend}) : gqa_prefill(s.ctx, {attend}));
  return project_back(s.ctx, source_.group(), o.reshape({T, HQ * D}), w.o, out);
}

Status Qwen3_5::mlp(Step& s, const Mlp& w, const Tensor& x, const Tensor& out) const {
  Tensor gate, up;
  SLUICE_RETURN_IF_ERROR(project(s.ctx, x, w.in, s.operands(act_), {&gate, &up}));
  const Tensor y = s.make(act_, {s.T, part_.intermediate_size});
  SLUICE_RETURN_IF_ERROR(s.memory());
  SLUICE_RETURN_IF_ERROR(silu_mul(s.ctx, {.gate = gate, .up = up, .y = y}));
  return project_back(s.ctx, source_.group(), y, w.down, out);
}

Status Qwen3_5::norm(Step& s, Residual& r, const Tensor& weight) const {
  const Tensor residual = r.started ? r.hidden : Tensor();
  return rmsnorm(s.ctx, {.x = r.started ? r.delta : r.hidden,
                         .residual = residual,
                         .weight = weight,
                         .y = r.x,
                         .residual_out = residual,
                         .eps = float(c_.rms_norm_eps),
                         .weight_offset = 1});
}

// The logits asked for, from x after the last norm.
Result<StepOutput> Qwen3_5::head(Step& s, const Residual& r) const {
  const int64_t count = int64_t(s.batch.logit_rows.size());
  StepOutput out{.logits = s.f32({count, c_.vocab_size}), .hidden = r.x};
  const Tensor rows = count == s.T ? r.x : s.make(r.x.dtype, {count, c_.hidden_size});
  SLUICE_RETURN_IF_ERROR(s.memory());
  if (count != s.T) SLUICE_RETURN_IF_ERROR(copy_rows(s.ctx, {.x = r.x, .out = rows, .from = s.in.logit_rows}));
  Group* group = source_.group();
  if (!group) {
    SLUICE_RETURN_IF_ERROR(multiply(s.ctx, rows, head_, out.logits));
    return out;
  }
  const Tensor words = s.f32({rows.dim(0), part_.vocab_size});
  SLUICE_RETURN_IF_ERROR(s.memory());
  SLUICE_RETURN_IF_ERROR(multiply(s.ctx, rows, head_, words));
  SLUICE_RETURN_IF_ERROR(gather_columns(s.ctx, *group, words, out.logits));
  return out;
}

Result<StepOutput> Qwen3_5::forward(Context& ctx, const Batch& batch, const StepTables& tables, const Pools& pools,
                                    const LayerObserver& observe) const {
  Step s(ctx, batch, tables);
  const int64_t h = c_.hidden_size;
  Residual r{.hidden = s.f32({s.T, h}), .delta = s.make(s.operands(act_), {s.T, h}), .x = s.make(act_, {s.T, h})};
  SLUICE_RETURN_IF_ERROR(s.memory());
  SLUICE_RETURN_IF_ERROR(embed(ctx, {.ids = s.in.ids, .table = embed_.values, .scale = embed_.scale, .out = r.hidden}));
  SLUICE_RETURN_IF_ERROR(show(ctx, observe, -1, r.hidden));
  size_t linear = 0, full = 0;
  for (int64_t l = 0; l < c_.num_layers; ++l) {
    const Layer& layer = layers_[l];
    const ArenaScope scratch(*ctx.arena);
    SLUICE_RETURN_IF_ERROR(norm(s, r, layer.input_norm));
    if (l > 0) SLUICE_RETURN_IF_ERROR(show(ctx, observe, l - 1, r.hidden));
    if (const auto* w = std::get_if<LinearAttention>(&layer.mixer)) {
      SLUICE_RETURN_IF_ERROR(linear_attention(s, *w, pools.linear[linear++], r.x, r.delta));
    } else {
      SLUICE_RETURN_IF_ERROR(full_attention(s, std::get<FullAttention>(layer.mixer), pools.attention[full++], r.x, r.delta));
    }
    r.started = true;
    SLUICE_RETURN_IF_ERROR(norm(s, r, layer.post_norm));
    SLUICE_RETURN_IF_ERROR(mlp(s, layer.mlp, r.x, r.delta));
  }
  SLUICE_RETURN_IF_ERROR(norm(s, r, norm_));
  SLUICE_RETURN_IF_ERROR(show(ctx, observe, c_.num_layers - 1, r.hidden));
  SLUICE_RETURN_IF_ERROR(show(ctx, observe, c_.num_layers, r.x));
  if (s.closes && pools.closed_hidden.present())
    SLUICE_RETURN_IF_ERROR(copy_rows(ctx, {.x = r.x, .out = pools.closed_hidden, .from = s.in.closed_rows, .to = s.in.slots}));
  return head(s, r);
}

Result<StepOutput> Qwen3_5::draft(Context& ctx, const Batch& batch, const StepTables& tables, const Tensor& hidden_before,
                                  const Pools& pools) const {
  if (!mtp_) return Status(Code::kUnsupported, "the checkpoint has no multi-token prediction head");
  Step s(ctx, batch, tables);
  s.first_key = 1;
  const int64_t h = c_.hidden_size;
  const float eps = float(c_.rms_norm_eps);
  const Tensor embedding = s.f32({s.T, h}), both = s.make(act_, {s.T, 2 * h});
  Residual r{.hidden = s.f32({s.T, h}), .delta = s.make(s.operands(act_), {s.T, h}), .x = s.make(act_, {s.T, h})};
  SLUICE_RETURN_IF_ERROR(s.memory());
  SLUICE_RETURN_IF_ERROR(embed(ctx, {.ids = s.in.ids, .table = embed_.values, .scale = embed_.scale, .out = embedding}));
  SLUICE_RETURN_IF_ERROR(
      rmsnorm(ctx, {.x = embedding, .weight = mtp_->norm_embedding, .y = both.slice(1, 0, h), .eps = eps, .weight_offset = 1}));
  SLUICE_RETURN_IF_ERROR(rmsnorm(
      ctx, {.x = hidden_before, .weight = mtp_->norm_hidden, .y = both.slice(1, h, 2 * h), .eps = eps, .weight_offset = 1}));
  SLUICE_RETURN_IF_ERROR(multiply(ctx, both, mtp_->fc, r.hidden));
  SLUICE_RETURN_IF_ERROR(norm(s, r, mtp_->layer.input_norm));
  SLUICE_RETURN_IF_ERROR(full_attention(s, std::get<FullAttention>(mtp_->layer.mixer), pools.attention.back(), r.x, r.delta));
  r.started = true;
  SLUICE_RETURN_IF_ERROR(norm(s, r, mtp_->layer.post_norm));
  SLUICE_RETURN_IF_ERROR(mlp(s, mtp_->layer.mlp, r.x, r.delta));
  SLUICE_RETURN_IF_ERROR(norm(s, r, mtp_->norm));
  return head(s, r);
}

Status Qwen3_5::close_chunks(Context& ctx, const std::vector<int32_t>& slots, const std::vector<int32_t>& lengths,
                             const Tensor& hidden, const Pools& pools) const {
  const int64_t B = int64_t(slots.size());
  const std::vector<int32_t> full(slots.size(), kChunk), none(slots.size() + 1, 0);
  Tensor slot, length, rows, no_rows;
  SLUICE_RETURN_IF_ERROR(bring(ctx, {{&slot, Tensor::of(slots.data(), {B})},
                                     {&length, Tensor::of(lengths.data(), {B})},
                                     {&rows, Tensor::of(full.data(), {B})},
                                     {&no_rows, Tensor::of(none.data(), {B + 1})}}));
  for (const auto& layer : pools.linear) {
    SLUICE_RETURN_IF_ERROR(gdn_close(ctx, {.slots = slot, .rows = rows, .state = layer.gdn}));
    SLUICE_RETURN_IF_ERROR(conv_tail(ctx, {.qkv = Tensor::of(static_cast<const float*>(nullptr), {0, layer.conv_tail.dim(2)}),
                                           .conv_ring = layer.conv_ring,
                                           .cu_seqlens = no_rows,
                                           .start = length,
                                           .slots = slot,
                                           .tail = layer.conv_tail}));
  }
  if (!pools.closed_hidden.present()) return {};
  return copy_rows(ctx, {.x = hidden, .out = pools.closed_hidden, .to = slot});
}

}  // namespace

Result<LoadedModel> make_qwen3_5(const ModelConfig& config, WeightSource source, DTypeChoice dtype) {
  return Qwen3_5::make(config, std::move(source), dtype);
}

}  // namespace sluice
