// sluice inspect: what a checkpoint is, without running it.
#include <fmt/core.h>
#include <fmt/format.h>

#include <map>

#include "cli/command.h"
#include "io/checkpoint.h"

namespace sluice::cli {
namespace {

struct InspectOptions {
  ModelOptions model;
  bool tensors = false;
};

void print_config(const ModelConfig& c) {
  int64_t full = 0;
  for (const LayerKind k : c.layers) full += k == LayerKind::kFullAttention;
  fmt::print("{:<22} {} ({}{})\n", "architecture", c.architecture, c.model_type,
             c.wrapped ? ", text part of a multimodal wrapper" : "");
  fmt::print("{:<22} {}, hidden {}, MLP {}\n", "layers", c.num_layers, c.hidden_size, c.intermediate_size);
  fmt::print("{:<22} {} layers, {} key and {} value heads of {} and {}, convolution {}\n", "gated delta", c.num_layers - full,
             c.linear_key_heads, c.linear_value_heads, c.linear_key_dim, c.linear_value_dim, c.conv_width);
  fmt::print("{:<22} {} layers, {} query and {} key heads of {}, rotary on {} dims, theta {:g}\n", "full attention", full,
             c.num_attention_heads, c.num_kv_heads, c.head_dim, c.rotary_dim, c.rope_theta);
  fmt::print("{:<22} {}, {} head\n", "vocabulary", c.vocab_size, c.tie_word_embeddings ? "tied" : "untied");
  fmt::print("{:<22} {} tokens\n", "context", c.max_position_embeddings);
  const int64_t state =
      (c.num_layers - full) * c.linear_value_heads * c.linear_key_dim * c.linear_value_dim * int64_t(sizeof(float));
  const int64_t kv = full * 2 * c.num_kv_heads * c.head_dim * int64_t(sizeof(Bf16));
  fmt::print("{:<22} {:.1f} MB of recurrent state, {:.1f} kB of keys and values a token (bf16)\n", "a sequence takes",
             double(state) / 1e6, double(kv) / 1e3);
}

// What a checkpoint holds, to be told after the model has taken it.
struct Contents {
  std::vector<std::pair<std::string, Tensor>> tensors;
  int64_t parameters = 0;
  size_t bytes = 0;
  std::map<DType, size_t> bytes_of;  // by type
};

// Scales and shapes of quantised weights are none; of int4 a number holds several.
int64_t parameters_in(const std::string& name, const Tensor& t) {
  if (name.ends_with(".weight_packed")) return t.numel() * kCodesOfWord;
  for (const char* beside : {".weight_scale", ".weight_scale_inv", ".weight_shape"})
    if (name.ends_with(beside)) return 0;
  return t.numel();
}

Contents contents_of(const Checkpoint& checkpoint) {
  Contents c{.bytes = checkpoint.total_bytes()};
  for (const auto& name : checkpoint.names()) {
    const Tensor& t = *checkpoint.find(name);
    c.tensors.emplace_back(name, t);
    c.parameters += parameters_in(name, t);
    c.bytes_of[t.dtype] += t.bytes();
  }
  return c;
}

void print_types(const Contents& contents, const std::optional<QuantizationConfig>& quantization) {
  std::vector<std::string> types;
  for (const auto& [type, bytes] : contents.bytes_of)
    types.push_back(fmt::format("{} {:.1f} MB", dtype_name(type), double(bytes) / 1e6));
  fmt::print("{:<22} {}\n", "types", fmt::join(types, ", "));
  if (!quantization) return;
  for (const QuantizationConfig::Group& g : quantization->groups) {
    std::vector<std::string> targets;
    for (const NamePattern& t : g.targets) targets.push_back(t.text());
    fmt::print("{:<22} {}: {}\n", "quantised weights", describe(g.scheme), fmt::join(targets, ", "));
  }
}

Status inspect(const InspectOptions& o) {
  SLUICE_ASSIGN_OR_RETURN(const std::string dir, model_dir(o.model));
  SLUICE_ASSIGN_OR_RETURN(const ModelConfig config, load_model_config(dir));
  SLUICE_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::open(dir));
  const Contents contents = contents_of(checkpoint);
  const auto loaded = load_model(config, std::move(checkpoint), LoadOptions{});
  if (!loaded.ok()) return loaded.status().in(dir);
  print_config(config);
  fmt::print("{:<22} {} tensors, {:.2f} M parameters, {:.1f} MB\n", "checkpoint", contents.tensors.size(),
             double(contents.parameters) / 1e6, double(contents.bytes) / 1e6);
  print_types(contents, config.quantization);
  fmt::print("{:<22} {}\n", "arithmetic", loaded->model->activation_dtype() == DType::kBF16 ? "bf16" : "fp32");
  fmt::print("{:<22} {}\n", "multi-token prediction", loaded->model->has_mtp() ? "yes" : "no");
  for (const auto& note : loaded->notes) fmt::print("{:<22} {}\n", "note", note);
  if (o.tensors)
    for (const auto& [name, t] : contents.tensors) fmt::print("  {:<70} {:<6} {}\n", name, dtype_name(t.dtype), t.shape_string());
  return {};
}

}  // namespace

void add_inspect(CLI::App& app, Command& command) {
  auto o = std::make_shared<InspectOptions>();
  CLI::App* sub = app.add_subcommand("inspect", "show what a checkpoint holds")->group("Look inside");
  sub->add_option("MODEL", o->model.model, "folder of a Hugging Face checkpoint; the demo model if left out")->type_name(kDir);
  sub->add_flag("--tensors", o->tensors, "list every tensor");
  sub->callback([o, &command] { command = [o] { return exit_code(inspect(*o)); }; });
}

}  // namespace sluice::cli
